"""PowerSGD (Vogels, Karimireddy & Jaggi 2019): ranks exchange matrices of low rank instead of gradients.

Let ``M``, shape (fan_in, fan_out), be the sum of a layer's gradients over all ranks. It is approximated by ``P Qᵀ``,
where ``P`` and ``Q`` have few columns: ``P = M Q`` with the ``Q`` of the previous step; then the columns of ``P`` are
made orthonormal; then ``Q = Mᵀ P``. Both products are linear in ``M``, so each rank computes them from its own
gradient, and the ranks add up the results. A rank keeps the part of its gradient that its share of ``P Qᵀ`` lacks, and
adds it to its gradient in the next step (error feedback).
"""

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.environment import blas
from nnmpi.mpi.checks import check_same
from nnmpi.mpi.world import World
from nnmpi.reduction.allreduce import Native
from nnmpi.reduction.protocol import Block
from nnmpi.reduction.step_vector import TAIL


class PowerSGD:
    """One batch per rank; ``Allreduce`` adds up the ``P`` and ``Q`` of large matrices, and all other numbers unchanged.

    A matrix is large if it has more numbers than its ``P`` and ``Q``. The kept part of a gradient is scaled by the
    weight of this step's samples over that of the previous step, so that a small last batch does not magnify it. It is
    not part of a checkpoint: a run that is resumed, or goes on without dead ranks, begins with nothing kept.

    Parameters
    ----------
    world
        The ranks.
    shapes
        (1 + fan_in, fan_out) of each layer; the biases are the first row.
    rank
        The number of columns of ``P`` and ``Q``.
    seed
        The random seed of the first ``Q``.

    Raises
    ------
    InputError
        On all ranks, if their BLAS differs: each rank computes the orthonormal columns and ``P Qᵀ`` by itself.
    """

    by_shard = False
    ready = None

    def __init__(self, world: World, shapes: list[tuple[int, int]], dtype: str, rank: int, seed: int) -> None:
        check_same(world, {"BLAS kernels or threads, but --compress powersgd needs the same": repr(blas()).encode()})
        self.blocks = [Block(0)]
        length = sum(rows * columns for rows, columns in shapes) + TAIL
        self.vectors: list[Array] = [np.zeros(length, dtype)]
        vector = self.vectors[0]
        large: list[tuple[Array, int, int]] = []  # matrix, where its P and its Q begin
        self._exact: list[tuple[Array, slice]] = []  # unchanged numbers, and their place beside all P
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
                large.append((matrix, ps, qs))
                ps, qs = ps + fan_in * rank, qs + columns * rank
            start = end
        self.name = f"PowerSGD of rank {rank} for {len(large)} of {len(shapes)} layers"
        self._weight = Native(world, TAIL, dtype)
        self._first, self._second = Native(world, ps, dtype), Native(world, qs, dtype)
        self._tail = vector[-TAIL:]
        first, second = self._first.vectors[0], self._second.vectors[0]
        generator = stream(seed, Purpose.COMPRESSION)
        self._layers = []
        for matrix, p, q in large:
            left = first[p : p + matrix.shape[0] * rank].reshape(-1, rank)
            right = second[q : q + matrix.shape[1] * rank].reshape(-1, rank)
            fresh = generator.standard_normal(right.shape).astype(dtype)
            right[:] = fresh
            self._layers.append((matrix, np.zeros_like(matrix), left, right, fresh))
        self._weight_before = 0.0
        self._column = np.empty(max((left.shape[0] for _, _, left, _, _ in self._layers), default=0), dtype)

    def reduce(self) -> None:
        """Make the sums in three rounds: the weight of the samples; all P and the unchanged numbers; all Q."""
        self._weight.vectors[0][:] = self._tail
        self._weight.reduce()
        self._tail[:] = self._weight.vectors[0]
        weight = float(self._tail[1])
        if not weight:  # all gradients are zero; what is kept waits for a step whose update divides it
            return
        factor = weight / self._weight_before if self._weight_before else 1.0
        for matrix, kept, left, right, _ in self._layers:
            if factor != 1.0:
                np.multiply(kept, factor, kept)
            np.add(matrix, kept, matrix)
            np.dot(matrix, right, left)
        self._weight_before = weight
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
            for column, replacement in zip(right.T, fresh.T, strict=True):
                if not divide_by_largest(column):  # a zero column would stay zero for ever
                    column[:] = replacement


def divide_by_largest(column: Array) -> bool:
    """Divide a column by its largest number, whatever its sign; return False if there are only zeros.

    PowerSGD needs only the directions of columns. The squares and products of very large or small ones would overflow
    or vanish.
    """
    largest = max(column.max(), -column.min())
    if largest == 0:
        return False
    np.divide(column, largest, column)
    return True


def orthonormalize(columns: Array, scratch: Array) -> None:
    """Make the columns of a matrix orthonormal, one after the other (Gram–Schmidt); dependent columns become zero.

    `scratch` has the length of a column. Each column is made orthogonal to the earlier ones twice: once is not enough
    where digits cancel.
    """
    for i in range(columns.shape[1]):
        column = columns[:, i]
        divide_by_largest(column)
        np.multiply(column, column, scratch)
        before = float(scratch.sum()) ** 0.5
        for _ in range(2):
            for j in range(i):
                np.multiply(column, columns[:, j], scratch)
                np.multiply(columns[:, j], scratch.sum(), scratch)
                np.subtract(column, scratch, column)
        np.multiply(column, column, scratch)
        after = float(scratch.sum()) ** 0.5
        if after <= 100 * np.finfo(columns.dtype).eps * before:
            column[:] = 0
        else:  # also if the norm is NaN, so that the loss becomes NaN
            np.divide(column, after, column)
