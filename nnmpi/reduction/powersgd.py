"""PowerSGD (Vogels, Karimireddy & Jaggi 2019): matrices of low rank go over the ranks in place of gradients.

The sum ``M`` of a layer's gradients over all ranks, shape (fan_in, fan_out), is replaced by ``P Qᵀ`` with few columns:
``P = M Q`` with the ``Q`` of the step before, the columns of ``P`` made orthonormal, ``Q = Mᵀ P``. Both are linear in
``M``, so ranks add up their own ``P`` and ``Q``. What a rank's part of ``P Qᵀ`` lacks of its gradient it keeps, and
adds to its gradient of the next step.
"""

import numpy as np

from nnmpi.data.random_streams import Purpose, stream
from nnmpi.environment import blas
from nnmpi.mpi.checks import check_same
from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.reduction.allreduce import Native
from nnmpi.reduction.protocol import Block
from nnmpi.reduction.step_vector import TAIL


class PowerSGD:
    """One batch a rank; of each matrix so many columns are added up by ``Allreduce``, all else as it is.

    Matrices that are no larger than their ``P`` and ``Q`` travel as they are. What ranks keep of their gradients counts
    in samples of the step in which it is added: a last batch of few samples does not magnify it. It is no part of a
    checkpoint: a run that is resumed, or that goes on without ranks that died, begins with nothing kept.

    Parameters
    ----------
    world
        The ranks.
    shapes
        (1 + fan_in, fan_out) of each layer; its biases come first.
    rank
        Columns of ``P`` and ``Q``.
    seed
        Of the first ``Q``.

    Raises
    ------
    InputError
        On all ranks, if they do not compute alike: each makes the orthonormal columns, and ``P Qᵀ``, by itself.
    """

    by_shard = False
    ready = None

    def __init__(self, world: World, shapes: list[tuple[int, int]], dtype: str, rank: int, seed: int) -> None:
        check_same(world, {"kernels or threads of BLAS, which --compress powersgd needs alike": repr(blas()).encode()})
        self.name = f"PowerSGD of rank {rank}"
        self.blocks = [Block(0)]
        length = sum(rows * columns for rows, columns in shapes) + TAIL
        self.vectors: list[Array] = [np.zeros(length, dtype)]
        vector = self.vectors[0]
        small: list[tuple[Array, int, int]] = []  # matrix, where its P and its Q begin
        self._exact: list[tuple[Array, slice]] = []  # what travels as it is, and where beside the P
        start = ps = qs = 0
        matrices: list[Array] = []
        for rows, columns in shapes:
            bias, end = start + columns, start + rows * columns
            fan_in = rows - 1
            compressed = rank * (fan_in + columns) < fan_in * columns
            plain = vector[start : bias if compressed else end]
            self._exact.append((plain, slice(ps, ps + plain.size)))
            ps += plain.size
            if compressed:
                matrix = vector[bias:end].reshape(fan_in, columns)
                matrices.append(matrix)
                small.append((matrix, ps, qs))
                ps, qs = ps + fan_in * rank, qs + columns * rank
            start = end
        self._weight = Native(world, TAIL, dtype)
        self._first, self._second = Native(world, ps, dtype), Native(world, qs, dtype)
        self._tail = vector[-TAIL:]
        first, second = self._first.vectors[0], self._second.vectors[0]
        generator = stream(seed, Purpose.COMPRESSION)
        self._layers = []
        for matrix, p, q in small:
            left = first[p : p + matrix.shape[0] * rank].reshape(-1, rank)
            right = second[q : q + matrix.shape[1] * rank].reshape(-1, rank)
            fresh = generator.standard_normal(right.shape).astype(dtype)
            right[:] = fresh
            self._layers.append((matrix, np.zeros_like(matrix), left, right, fresh))
        self._weight_before = 0.0
        self._column = np.empty(max((left.shape[0] for _, _, left, _, _ in self._layers), default=0), dtype)

    def reduce(self) -> None:
        """Three rounds: the weight of the samples; all P and what travels as it is; all Q."""
        self._weight.vectors[0][:] = self._tail
        self._weight.reduce()
        self._tail[:] = self._weight.vectors[0]
        weight = float(self._tail[1])
        factor = weight / self._weight_before if self._weight_before and weight else 1.0
        for matrix, kept, left, right, _ in self._layers:
            if factor != 1.0:
                np.multiply(kept, factor, kept)
            np.add(matrix, kept, matrix)
            np.dot(matrix, right, left)
        self._weight_before = weight or self._weight_before
        buffer = self._first.vectors[0]
        for numbers, place in self._exact:
            buffer[place] = numbers
        self._first.reduce()
        for numbers, place in self._exact:
            numbers[:] = buffer[place]
        for matrix, kept, left, right, _ in self._layers:
            orthonormalize(left, self._column[: len(left)])
            np.dot(matrix.T, left, right)
            np.dot(left, right.T, kept)
            np.subtract(matrix, kept, kept)
        self._second.reduce()
        for matrix, _, left, right, fresh in self._layers:
            np.dot(left, right.T, matrix)
            for column in range(right.shape[1]):
                if not right[:, column].any():  # else it would stay zero for ever
                    right[:, column] = fresh[:, column]


def orthonormalize(columns: Array, room: Array) -> None:
    """Make the columns of a matrix orthonormal, one after the other (Gram–Schmidt); those that depend on others zero.

    `room` holds one of them. Each is freed from the others twice: once is not enough where digits cancel.
    """
    for i in range(columns.shape[1]):
        column = columns[:, i]
        np.multiply(column, column, room)
        before = float(room.sum()) ** 0.5
        for _ in range(2):
            for j in range(i):
                np.multiply(column, columns[:, j], room)
                np.multiply(columns[:, j], room.sum(), room)
                np.subtract(column, room, column)
        np.multiply(column, column, room)
        after = float(room.sum()) ** 0.5
        if after > 100 * np.finfo(columns.dtype).eps * before:
            np.divide(column, after, column)
        else:
            column[:] = 0
