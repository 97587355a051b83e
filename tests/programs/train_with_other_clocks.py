"""A training with different clocks, as on several hosts: the clock of rank 1 is 5 s ahead and runs too fast."""

import sys
import time

import nnmpi.cli
import nnmpi.mpi.clocks
import nnmpi.report.recording
from nnmpi.mpi.launcher import launched
from nnmpi.report import timeline

rank = launched()[2]
started = time.perf_counter_ns()


def clock() -> int:
    now = time.perf_counter_ns()
    return now + rank * (5_000_000_000 + (now - started) // 1000)


timeline.clock = nnmpi.report.recording.clock = clock
nnmpi.mpi.clocks.clock_of = lambda: f"clock {rank}"
nnmpi.cli.main(sys.argv[1:])
