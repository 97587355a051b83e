"""What a step adds up over all ranks, in one vector: gradient, loss, weight, and what ranks ask for."""

import struct

import numpy as np

from nnmpi.nn.architecture import Architecture
from nnmpi.reduction.protocol import Reduction

TAIL = 4  # numbers behind the gradient


class Sums:
    """The vectors of a reduction as the loop sees them: sum gradient | loss sum | weight sum | stop? | checkpoint?.

    Attributes
    ----------
    gradient : array
        For the optimizer: after the reduction the sum gradient over all ranks.
    layers : list of array
        The same, an array for each layer.
    destinations : list
        Where `Network.backward` puts the gradient of each block.
    """

    def __init__(self, reduce: Reduction, architecture: Architecture) -> None:
        vectors = reduce.vectors
        gradients = [architecture.views(vector[:-TAIL]) for vector in vectors]
        tails = [vector[-TAIL:] for vector in vectors]
        self.gradient, self.layers, self._tail = vectors[0][:-TAIL], gradients[0], tails[0]
        self.destinations = [
            (gradients[block.into], [(gradients[i], gradients[j]) for i, j in block.additions])
            for block in reduce.blocks
        ]
        self._ends = [
            (tails[block.into].data.cast("B"), [(tails[i], tails[j]) for i, j in block.additions])
            for block in reduce.blocks
        ]
        # NumPy takes 0.4 µs longer for four numbers
        self._write = struct.Struct(f"{TAIL}{self.gradient.dtype.char}").pack_into

    def fill(self, losses: list[float], weights: list[float], stop: bool, checkpoint: bool) -> None:
        """Put what is no gradient into the vectors: of each block the loss sum and the weight of its samples."""
        for block, loss in enumerate(losses):  # zip would take longer
            end, additions = self._ends[block]
            self._write(end, 0, loss, weights[block], stop, checkpoint)
            for total, part in additions:
                np.add(total, part, total)

    def read(self) -> list[float]:
        """After the reduction: loss sum, weight sum, how many ask for a stop, and for a checkpoint."""
        found: list[float] = self._tail.tolist()
        return found
