"""Which samples belong to which shard, step and rank: plain integer arithmetic, independent of the world size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnmpi.arrays import Indices
from nnmpi.data.random_streams import Purpose, stream


def default_shards(world_size: int) -> int:
    """The smallest power of two that is at least 8 and at least the world size."""
    return max(8, 1 << (world_size - 1).bit_length())


def held_shards(shards: int, world_size: int, rank: int) -> range:
    """The contiguous run of shards that a rank holds."""
    return range(shards * rank // world_size, shards * (rank + 1) // world_size)


def shard_rows(rows: Indices, shards: int, shard: int) -> Indices:
    """Return the `rows` of a part that belong to `shard`, in the order of the part.

    Shards are contiguous runs of the part; the first ``len(rows) mod shards`` of them have one row more.
    """
    size, remainder = divmod(len(rows), shards)
    start = shard * size + min(shard, remainder)
    return rows[start : start + size + (shard < remainder)]


def slices_of(sizes: list[int]) -> list[slice]:
    """Return the slice of each of several runs of rows of these sizes, one after the other."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


@dataclass(frozen=True)
class Layout:
    """How an epoch of `samples` samples is cut into steps and microbatches.

    Position ``p`` of the epoch belongs to shard ``p mod shards``, as its ``p div shards``-th sample; step ``t`` takes
    the positions ``[t · batch_size, min((t+1) · batch_size, samples))``.
    """

    samples: int
    shards: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return -(-self.samples // self.batch_size)

    def samples_of(self, step: int) -> int:
        """Return the number of samples of a step over all ranks; only the last step of an epoch may have fewer."""
        return min(self.batch_size, self.samples - step * self.batch_size)

    @property
    def largest_microbatch(self) -> int:
        """The largest number of samples that one shard has in a step."""
        return -(-self.batch_size // self.shards)

    def starts(self, shard: int) -> Indices:
        """Return where the microbatch of each step begins in the shard's order of an epoch; shape (steps + 1,)."""
        positions = np.minimum(np.arange(self.steps + 1) * self.batch_size, self.samples)
        return np.asarray(-((shard - positions) // self.shards), np.intp)


class EpochOrder:
    """The order in which a rank goes through the samples of its shards.

    The rank stores its samples shard after shard. An epoch takes them step by step, and within a step shard by shard.
    If every rank has all samples, `draw` takes the number of an epoch and returns all samples in the epoch's order.

    Attributes
    ----------
    order : array, shape (samples of the rank,)
        The samples in the order of the current epoch, as indices into the samples that the rank stores.
    bounds : array, shape (steps, held shards + 1)
        Row ``t``: where the microbatches of step ``t`` begin in `order`, and where the last one ends.
    """

    def __init__(self, layout: Layout, held: range, seed: int, draw: Callable[[int], Indices] | None = None) -> None:
        self._held, self._seed, self._draw, self._shards = held, seed, draw, layout.shards
        all_starts = [layout.starts(shard) for shard in held]
        sizes = np.array([np.diff(starts) for starts in all_starts]).T  # (steps, held shards)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        self.bounds: Indices = np.lib.stride_tricks.sliding_window_view(ends, len(held) + 1)[:: len(held)]
        self.order: Indices = np.zeros(ends[-1], np.intp)
        self._positions = [  # for each shard: the positions in `order` of its samples, in their drawn order
            np.arange(starts[-1]) + np.repeat(self.bounds[:, i] - starts[:-1], np.diff(starts))
            for i, starts in enumerate(all_starts)
        ]
        self._generator = stream(seed, Purpose.ORDER)

    def start(self, epoch: int) -> None:
        """Draw the order of `epoch` (0, 1, …)."""
        if self._draw:
            samples = self._draw(epoch)
            for shard, positions in zip(self._held, self._positions, strict=True):
                self.order[positions] = samples[shard :: self._shards]
            return
        offset = 0
        for shard, positions in zip(self._held, self._positions, strict=True):
            generator = stream(self._seed, Purpose.ORDER, epoch, shard=shard, reuse=self._generator)
            self.order[positions] = offset + generator.permutation(len(positions))
            offset += len(positions)
