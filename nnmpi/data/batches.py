"""The batches of an epoch, gathered from a rank's samples several steps at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from nnmpi.data.augment import Augmentation, Microbatch
from nnmpi.data.parts import Part
from nnmpi.data.shards import EpochOrder, Indices, Layout
from nnmpi.data.table import Preparation
from nnmpi.data.targets import Encoder, Plan, Targets

Array = npt.NDArray[np.floating]
Batch = TypeVar("Batch")

WINDOW_BYTES = 1 << 17  # of samples gathered at once; about what stays in a core's cache until it is used
KEPT = 2  # cuts of a window, as there are in an epoch whose steps are alike: its last window is another


@dataclass
class Cut(Generic[Batch]):
    """How a window is cut into steps."""

    ends: list[list[int]]  # for each step: where its microbatches begin, where it ends
    plan: Plan  # of the targets of all steps
    batches: list[Batch]  # of each step
    weights: list[list[float]]  # of each step and block, what its samples weigh; without weights their number


class Batches(Generic[Batch]):
    """What a rank contributes to each step: one block of samples for each shard held, or, not `by_shard`, one for all.

    The samples of the next steps are gathered into a *window*, with one call for all of them where they are small; a
    batch is then views of it: the inputs of each block, shape (1 + features, b), the targets, shape (outputs, b), and,
    if there are `weights`, those, shape (b,). What `bind` makes of them is kept, because the same views come again and
    again, with other samples. Augmentation happens in the window too; images that it moves are taken from the part as
    they are stored, and standardized here, with `scaler`. Without it stored samples come as they are. `draw` is that
    of `EpochOrder`.
    """

    def __init__(
        self,
        part: Part,
        layout: Layout,
        held: range,
        targets: Targets,
        seed: int,
        augmentation: Augmentation | None,
        scaler: Preparation,
        by_shard: bool,
        bind: Callable[..., Batch],
        weights: npt.NDArray[np.float64] | None = None,
        draw: Callable[[int], Indices] | None = None,
    ) -> None:
        self._by_shard, self._bind = by_shard, bind
        self._part, self._held, self._seed = part, held, seed
        self._augmentation, self._scaler = augmentation, scaler
        self._order = EpochOrder(layout, held, seed, draw)
        self._epoch = -1
        bounds = self._order.bounds
        self._first, self._last = bounds[:, 0], bounds[:, -1]
        largest = int(np.max(self._last - self._first))

        x = part.x
        steps = max(1, min(len(bounds), WINDOW_BYTES // max(1, largest * x.shape[1] * x.itemsize)))
        capacity = steps * largest
        self._steps = steps
        self._window: Array = np.empty((capacity, x.shape[1]), x.dtype)
        self._stored: npt.NDArray[Any] | None = None  # stored samples, gathered before they go into the window
        if part.stored is not None:
            self._window[:, 0] = 1
            cached = capacity if augmentation else min(capacity, WINDOW_BYTES // max(1, part.stored[:1].nbytes))
            self._stored = np.empty((max(1, cached), part.stored.shape[1]), part.stored.dtype)
        self._codes = np.empty((capacity, *part.y.shape[1:]), part.y.dtype)
        self._encoder = Encoder(targets, capacity, x.dtype)
        self._weights = None if weights is None else weights.astype(x.dtype)
        self._weight_window: Array = np.empty(0 if weights is None else capacity, x.dtype)
        self._start = self._end = 0  # the steps in the window
        self._alike = _alike(bounds)
        # how windows were cut, by their shape: how many steps that are alike; or, below 0, with which step they begin
        self._cuts: dict[int, Cut[Batch]] = {}
        if augmentation:
            augmentation.reserve(largest)

    def start(self, epoch: int) -> None:
        """Begin `epoch` (0, 1, …)."""
        self._order.start(epoch)
        self._epoch = epoch
        self._start = self._end = 0

    def batch(self, step: int) -> Batch:
        """What was bound to the samples of a step, with these samples in its arrays."""
        if not self._start <= step < self._end:
            self._fill(step)
        return self._now.batches[step - self._start]

    def weights(self, step: int) -> list[float]:
        """What the samples of each block weigh, after `batch` of the same step; without weights their number."""
        return self._now.weights[step - self._start]

    def columns(self, step: int) -> list[tuple[int, int, slice]]:
        """Where each shard's samples of a step are: shard, block, columns of the block."""
        bounds = (self._order.bounds[step] - self._first[step]).tolist()
        places = zip(self._held, pairwise(bounds), strict=True)
        if self._by_shard:
            return [(shard, block, slice(0, b - a)) for block, (shard, (a, b)) in enumerate(places)]
        return [(shard, 0, slice(a, b)) for shard, (a, b) in places]

    def _fill(self, step: int) -> None:
        self._start, self._end = step, min(step + self._steps, len(self._first))
        base = int(self._first[step])
        shape = self._end - step if self._end <= self._alike else ~step
        if shape not in self._cuts:
            if len(self._cuts) == KEPT:
                del self._cuts[next(iter(self._cuts))]  # the oldest
            self._cuts[shape] = self._cut((self._order.bounds[step : self._end] - base).tolist())
        self._now = self._cuts[shape]
        rows = self._order.order[base : self._last[self._end - 1]]
        n = len(rows)
        if self._part.stored is None or self._stored is None:
            self._part.x.take(rows, axis=0, out=self._window[:n], mode="clip")  # clip: raise would copy `out`
        else:
            at_once = len(self._stored)  # all that are to be augmented, else what the cache keeps until it is copied
            for a in range(0, n, at_once):
                some = self._stored[: min(n - a, at_once)]
                self._part.stored.take(rows[a : a + at_once], axis=0, out=some, mode="clip")
                if not self._augmentation:
                    self._window[a : a + len(some), 1:] = some
        self._part.y.take(rows, axis=0, out=self._codes[:n], mode="clip")
        self._encoder.encode(self._codes[:n], self._now.plan)
        if self._weights is not None:
            self._weights.take(rows, out=self._weight_window[:n], mode="clip")
            self._now.weights = self._weigh(self._now.ends)
        if self._augmentation:
            self._augment(self._augmentation)

    def _cut(self, ends: list[list[int]]) -> Cut[Batch]:
        steps = [self._blocks(places) for places in ends]
        batches = []
        for blocks in steps:
            inputs = [self._window[a:b].T for a, b in blocks]
            targets = [self._encoder.view(a, b) for a, b in blocks]
            weights = [] if self._weights is None else [[self._weight_window[a:b] for a, b in blocks]]
            batches.append(self._bind(inputs, targets, *weights))
        sizes: list[list[float]] = [[b - a for a, b in blocks] for blocks in steps]
        return Cut(ends, self._encoder.plan(list(chain(*steps))), batches, sizes)

    def _blocks(self, places: list[int]) -> list[tuple[int, int]]:
        """Where the blocks of a step are in the window."""
        return list(pairwise(places)) if self._by_shard else [(places[0], places[-1])]

    def _weigh(self, ends: list[list[int]]) -> list[list[float]]:
        """The sum of the weights of each block of each step in the window."""
        window = self._weight_window
        return [[float(window[a:b].sum(dtype=np.float64)) for a, b in self._blocks(places)] for places in ends]

    def _augment(self, augmentation: Augmentation) -> None:
        microbatches = []
        for step, ends in enumerate(self._now.ends, self._start):
            for shard, (a, b) in zip(self._held, pairwise(ends), strict=True):
                images = None if self._stored is None else self._stored[a:b]
                microbatches.append(Microbatch(self._epoch, step, shard, self._window[a:b, 1:], images))
        augmentation.apply(microbatches, self._scaler)


def _alike(bounds: Indices) -> int:
    """How many steps, from the first one on, are cut into microbatches of the same sizes; often all but the last."""
    different = [np.flatnonzero(ends - bounds[:, 0] != ends[0] - bounds[0, 0])[:1] for ends in bounds.T]
    return int(min(np.concatenate([*different, [len(bounds)]])))
