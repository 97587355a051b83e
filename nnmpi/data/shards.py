"""Which samples belong to which shard, step and rank: plain integer arithmetic, independent of the world size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnmpi.data.random_streams import Purpose, stream

Indices = npt.NDArray[np.intp]


def default_shards(world_size: int) -> int:
    """The smallest power of two that is at least 8 and at least the world size."""
    return max(8, 1 << (world_size - 1).bit_length())


def held_shards(shards: int, world_size: int, rank: int) -> range:
    """The contiguous run of shards that a rank holds."""
    return range(shards * rank // world_size, shards * (rank + 1) // world_size)


def shard_rows(rows: Indices, shards: int, shard: int) -> Indices:
    """Those of a part's `rows` that belong to `shard`, in the order of the part.

    Shards are contiguous runs of the part; the first ``len(rows) mod shards`` hold one row more than the rest.
    """
    size, more = divmod(len(rows), shards)
    start = shard * size + min(shard, more)
    return rows[start : start + size + (shard < more)]


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
        """How many samples a step takes over all ranks; only the last of an epoch may take fewer than the others."""
        return min(self.batch_size, self.samples - step * self.batch_size)

    def microbatch(self, step: int, shard: int) -> range:
        """Which samples of the shard's order of this epoch make up its microbatch of a step."""
        start = step * self.batch_size
        end = min(start + self.batch_size, self.samples)
        return range(-(-(start - shard) // self.shards), -(-(end - shard) // self.shards))

    @property
    def largest_microbatch(self) -> int:
        """The most samples that a shard has in a step."""
        return -(-self.batch_size // self.shards)

    def starts(self, shard: int) -> Indices:
        """Where in the shard's order of an epoch the microbatch of each step begins; shape (steps + 1,)."""
        positions = np.minimum(np.arange(self.steps + 1) * self.batch_size, self.samples)
        return np.asarray(-((shard - positions) // self.shards), np.intp)


class EpochOrder:
    """The order in which a rank goes through the samples of its shards.

    The rank keeps its samples shard after shard. An epoch visits them step by step, and in a step shard by shard.
    Where every rank has all samples, `draw` gives the samples of a whole epoch in order, from its number.

    Attributes
    ----------
    order : array, shape (samples of the rank,)
        The rank's own number of the sample at each place of the current epoch.
    bounds : array, shape (steps, held shards + 1)
        Row ``t``: where in the epoch the microbatches of step ``t`` begin, and where the last of them ends.
    """

    def __init__(self, layout: Layout, held: range, seed: int, draw: Callable[[int], Indices] | None = None) -> None:
        self._held, self._seed, self._draw, self._shards = held, seed, draw, layout.shards
        all_starts = [layout.starts(shard) for shard in held]
        sizes = np.array([np.diff(starts) for starts in all_starts]).T  # (steps, held shards)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        self.bounds: Indices = np.lib.stride_tricks.sliding_window_view(ends, len(held) + 1)[:: len(held)]
        self.order: Indices = np.zeros(ends[-1], np.intp)
        self._places = [  # in `order`, of the samples of each shard in the order that is drawn
            np.arange(starts[-1]) + np.repeat(self.bounds[:, i] - starts[:-1], np.diff(starts))
            for i, starts in enumerate(all_starts)
        ]
        self._generator = stream(seed, Purpose.ORDER)

    def start(self, epoch: int) -> None:
        """Draw the order of `epoch` (0, 1, …)."""
        if self._draw:
            samples = self._draw(epoch)
            for shard, places in zip(self._held, self._places, strict=True):
                self.order[places] = samples[shard :: self._shards]
            return
        offset = 0
        for shard, places in zip(self._held, self._places, strict=True):
            generator = stream(self._seed, Purpose.ORDER, epoch, shard=shard, reuse=self._generator)
            self.order[places] = offset + generator.permutation(len(places))
            offset += len(places)
