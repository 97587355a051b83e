"""The reduction of a step: from each rank's sums to the sums over all ranks."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nnmpi.mpi.world import World


def native(world: World, vector: npt.NDArray[np.floating]) -> Callable[[], None]:
    """A function that replaces `vector` by its sum over all ranks, with one stock ``Allreduce``.

    All ranks call it, once in each step.
    """
    if world.size == 1:
        return lambda: None
    allreduce, in_place = world.comm.Allreduce, world.mpi.IN_PLACE
    datatype = world.mpi.FLOAT if vector.dtype == np.float32 else world.mpi.DOUBLE
    buffer = [vector, vector.size, datatype]

    def reduce() -> None:
        allreduce(in_place, buffer)

    return reduce
