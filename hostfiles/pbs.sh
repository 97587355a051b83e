#!/bin/bash
# A job for PBS. Submit it in the root of the project, which contains .venv:
#   qsub hostfiles/pbs.sh
# The environment and the working directory must be on a file system that all hosts share.
#PBS -N nnmpi
#PBS -l select=2:ncpus=8:mpiprocs=8
#PBS -l walltime=02:00:00
#PBS -j oe
seconds=7200 # the time limit above

cd "$PBS_O_WORKDIR" || exit
# PBS lists each host once for each rank.
ranks=$(wc -l <"$PBS_NODEFILE")
sort "$PBS_NODEFILE" | uniq -c | while read -r slots host; do
    if [[ -x .venv/bin/ompi_info ]]; then
        echo "$host slots=$slots" # Open MPI
    else
        echo "$host:$slots" # MPICH
    fi
done >"hosts.$PBS_JOBID"

# Two minutes before the time limit the ranks get SIGUSR1: they finish the step, write a checkpoint and end.
# Submit the job again to continue: --resume uses the newest checkpoint, or starts from the beginning without one.
timeout --foreground --signal=USR1 "$((seconds - 120))" \
    .venv/bin/nnmpi launch -n "$ranks" --hostfile "hosts.$PBS_JOBID" --restarts 3 -- \
    train --data digits --epochs 20 --resume --output runs/pbs
status=$?
rm "hosts.$PBS_JOBID"
exit "$status"
