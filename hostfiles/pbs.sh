#!/bin/bash
# A job for PBS. Submit it in the project's root, so that .venv is found there:
#   qsub hostfiles/pbs.sh
# The environment and the working directory must be on a file system that all hosts share.
#PBS -N nnmpi
#PBS -l select=2:ncpus=8:mpiprocs=8
#PBS -l walltime=02:00:00
#PBS -j oe
seconds=7200 # the walltime

cd "$PBS_O_WORKDIR" || exit
# PBS names a host once for each rank.
ranks=$(wc -l <"$PBS_NODEFILE")
sort "$PBS_NODEFILE" | uniq -c | while read -r slots host; do
    if [[ -x .venv/bin/ompi_info ]]; then
        echo "$host slots=$slots" # Open MPI
    else
        echo "$host:$slots" # MPICH
    fi
done >"hosts.$PBS_JOBID"

# Two minutes before the time is up the ranks get USR1: they finish the step, write a checkpoint and end.
# Submit the job again and it goes on from there: --resume takes the newest checkpoint, and starts anew without one.
timeout --foreground --signal=USR1 "$((seconds - 120))" \
    .venv/bin/nnmpi launch -n "$ranks" --hostfile "hosts.$PBS_JOBID" --restarts 3 -- \
    train --data digits --epochs 20 --resume --output runs/pbs
status=$?
rm "hosts.$PBS_JOBID"
exit "$status"
