"""The step vector, which each step adds up over all ranks: gradient, loss, weights and requests."""

import struct

import numpy as np

from nnmpi.nn.architecture import Architecture
from nnmpi.reduction.protocol import Reduction

TAIL = 4  # numbers behind the gradient: loss sum, weight sum, stop?, checkpoint?


class Sums:
    """The vectors of a reduction, each divided into: sum gradient | loss sum | weight sum | stop? | checkpoint?.

    Attributes
    ----------
    gradient : array
        After the reduction, the sum gradient over all ranks, for the optimizer.
    layers : list of array
        The same numbers, one array for each layer.
    destinations : list
        Where `Network.backward` writes the gradient of each block, and the additions that follow.
    """

    def __init__(self, reduction: Reduction, architecture: Architecture) -> None:
        vectors = reduction.vectors
        gradients = [architecture.views(vector[:-TAIL]) for vector in vectors]
        tails = [vector[-TAIL:] for vector in vectors]
        self.gradient, self.layers, self._tail = vectors[0][:-TAIL], gradients[0], tails[0]
        self.destinations = [
            (gradients[block.into], [(gradients[i], gradients[j]) for i, j in block.additions])
            for block in reduction.blocks
        ]
        self._block_tails = [
            (tails[block.into].data.cast("B"), [(tails[i], tails[j]) for i, j in block.additions])
            for block in reduction.blocks
        ]
        # to write four numbers, NumPy takes 0.4 µs longer
        self._write = struct.Struct(f"{TAIL}{self.gradient.dtype.char}").pack_into

    def fill(self, losses: list[float], weights: list[float], stop: bool, checkpoint: bool) -> None:
        """Write the loss sum and the weight sum of each block, and the requests of this rank, into the vectors."""
        for block, loss in enumerate(losses):  # zip would take longer
            tail, additions = self._block_tails[block]
            self._write(tail, 0, loss, weights[block], stop, checkpoint)
            for total, part in additions:
                np.add(total, part, total)

    def read(self) -> list[float]:
        """Return loss sum, weight sum, and two numbers that are not 0 if a rank asks for a stop or a checkpoint.

        Call it after the reduction.
        """
        numbers: list[float] = self._tail.tolist()
        return numbers
