#!/bin/bash
# A job for LSF. Submit it in the root of the project, which contains .venv:
#   bsub < hostfiles/lsf.sh
# The environment and the working directory must be on a file system that all hosts share.
#BSUB -J nnmpi
#BSUB -n 16
#BSUB -R "span[ptile=8]"
#BSUB -W 2:00
#BSUB -o nnmpi-%J.out
seconds=7200 # the time limit above

cd "$LS_SUBCWD" || exit
# LSF lists each host once for each rank.
ranks=$(wc -l <"$LSB_DJOB_HOSTFILE")
sort "$LSB_DJOB_HOSTFILE" | uniq -c | while read -r slots host; do
    if [[ -x .venv/bin/ompi_info ]]; then
        echo "$host slots=$slots" # Open MPI
    else
        echo "$host:$slots" # MPICH
    fi
done >"hosts.$LSB_JOBID"

# Two minutes before the time limit the ranks get SIGUSR1: they finish the step, write a checkpoint and end.
# Submit the job again to continue: --resume uses the newest checkpoint, or starts from the beginning without one.
timeout --foreground --signal=USR1 "$((seconds - 120))" \
    .venv/bin/nnmpi launch -n "$ranks" --hostfile "hosts.$LSB_JOBID" --restarts 3 -- \
    train --data digits --epochs 20 --resume --output runs/lsf
status=$?
rm "hosts.$LSB_JOBID"
exit "$status"
