"""Runs `nnmpi.train` on the world, on a part of its ranks and on each rank alone; prints "equal" if results agree."""

import numpy as np
from mpi4py import MPI

import nnmpi
from nnmpi.errors import InputError

SMALL = {"hidden": (8,), "epochs": 2, "deterministic": True}
world = MPI.COMM_WORLD

first, second = (nnmpi.train("iris", **SMALL) for _ in range(2))
assert first.scores == second.scores
parameters_of_ranks = world.allgather(first.model.parameters.tobytes())
assert len(set(parameters_of_ranks)) == 1

alone = nnmpi.train("iris", comm=MPI.COMM_SELF, **SMALL)  # the same bits on any number of ranks
assert np.array_equal(alone.model.parameters, first.model.parameters)

different = nnmpi.train("iris", comm=MPI.COMM_SELF, seed=world.rank, hidden=(4 + world.rank,), epochs=1)
assert different.model.architecture.sizes == (4, 4 + world.rank, 3)

part = world.Split(color=world.rank % 2)
on_part = nnmpi.train("iris", comm=part, **SMALL)
assert np.array_equal(on_part.model.parameters, first.model.parameters)
part.Free()

outside = world.Split(color=MPI.UNDEFINED if world.rank else 0)  # rank 0 alone; the other ranks have MPI.COMM_NULL
message = ""
try:
    nnmpi.train("iris", comm=outside, **SMALL)
except InputError as error:
    message = str(error)
assert ("MPI.COMM_NULL" in message) == (world.rank > 0)

assert not MPI.Is_finalized()
print("equal", flush=True)
