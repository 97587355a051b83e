"""The batches of an epoch, gathered from a rank's samples several steps at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Generic, TypeVar

import numpy as np

from nnmpi.arrays import Array, Floats, Indices
from nnmpi.data.augment import Augmentation, Microbatch
from nnmpi.data.parts import Part
from nnmpi.data.shards import EpochOrder, Layout
from nnmpi.data.table import Preparation
from nnmpi.data.targets import Encoder, Plan, Targets

Batch = TypeVar("Batch")

WINDOW_BYTES = 1 << 17  # of samples gathered at once; they stay in a core's cache until they are used
KEPT_CUTS = 2  # enough for an epoch of equal steps: one for full windows, one for the last window


@dataclass
class Cut(Generic[Batch]):
    """How a window is cut into steps."""

    bounds: list[list[int]]  # for each step: where its microbatches begin, and where the last one ends
    plan: Plan  # of the targets of all steps
    batches: list[Batch]  # one per step
    weights: list[list[float]]  # for each step: the sum of the weights of each block; without weights its size


class Batches(Generic[Batch]):
    """The samples that a rank contributes to each step.

    With `by_shard`, a batch has one block of samples for each shard held, otherwise one block for all shards.

    The samples of the next steps are gathered into a *window*; if they are small, one call gathers many steps. A batch
    consists of views of the window: the inputs of each block, shape (1 + features, b), its targets, shape (outputs, b),
    and, with `weights`, its weights, shape (b,). `bind` gets these views, and its result is kept, because later windows
    fill the same views with other samples.

    Augmentation works in the window. Images that it moves are taken from the part as they are stored, and standardized
    here with `scaler`. Without augmentation, stored samples are copied unchanged. `draw` is passed to `EpochOrder`.
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
        weights: Floats | None = None,
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
        self._stored: Array | None = None  # stored samples, gathered before they go into the window
        if part.stored is not None:
            self._window[:, 0] = 1
            stored_rows = capacity if augmentation else min(capacity, WINDOW_BYTES // max(1, part.stored[:1].nbytes))
            self._stored = np.empty((max(1, stored_rows), part.stored.shape[1]), part.stored.dtype)
        self._codes = np.empty((capacity, *part.y.shape[1:]), part.y.dtype)
        self._encoder = Encoder(targets, capacity, x.dtype)
        self._weights = None if weights is None else weights.astype(x.dtype)
        self._weight_window: Array = np.empty(0 if weights is None else capacity, x.dtype)
        self._start = self._end = 0  # first step in the window, and the one after the last
        self._equal_steps = _count_equal_steps(bounds)
        # by the number of steps in the window if these have equal sizes, else by ~(first step), which is negative
        self._cuts: dict[int, Cut[Batch]] = {}
        if augmentation:
            augmentation.reserve(largest)

    def start(self, epoch: int) -> None:
        """Begin `epoch` (0, 1, …)."""
        self._order.start(epoch)
        self._epoch = epoch
        self._start = self._end = 0

    def batch(self, step: int) -> Batch:
        """Return the result of `bind` for a step, with the samples of the step in its arrays."""
        if not self._start <= step < self._end:
            self._fill(step)
        return self._current.batches[step - self._start]

    def weights(self, step: int) -> list[float]:
        """Return the sum of the weights of each block of a step, without weights its size; call `batch` first."""
        return self._current.weights[step - self._start]

    def columns(self, step: int) -> list[tuple[int, int, slice]]:
        """Return where the samples of each shard are in a step: shard, block, columns of the block."""
        bounds = (self._order.bounds[step] - self._first[step]).tolist()
        microbatches = zip(self._held, pairwise(bounds), strict=True)
        if self._by_shard:
            return [(shard, block, slice(0, b - a)) for block, (shard, (a, b)) in enumerate(microbatches)]
        return [(shard, 0, slice(a, b)) for shard, (a, b) in microbatches]

    def _fill(self, step: int) -> None:
        self._start, self._end = step, min(step + self._steps, len(self._first))
        base = int(self._first[step])
        key = self._end - step if self._end <= self._equal_steps else ~step
        if key not in self._cuts:
            if len(self._cuts) == KEPT_CUTS:
                del self._cuts[next(iter(self._cuts))]  # the oldest
            self._cuts[key] = self._cut((self._order.bounds[step : self._end] - base).tolist())
        self._current = self._cuts[key]
        rows = self._order.order[base : self._last[self._end - 1]]
        n = len(rows)
        if self._part.stored is None or self._stored is None:
            self._part.x.take(rows, axis=0, out=self._window[:n], mode="clip")  # mode="raise" would copy `out`
        else:
            at_once = len(self._stored)  # with augmentation all rows, else as many as stay in the cache
            for a in range(0, n, at_once):
                samples = self._stored[: min(n - a, at_once)]
                self._part.stored.take(rows[a : a + at_once], axis=0, out=samples, mode="clip")
                if not self._augmentation:
                    self._window[a : a + len(samples), 1:] = samples
        self._part.y.take(rows, axis=0, out=self._codes[:n], mode="clip")
        self._encoder.encode(self._codes[:n], self._current.plan)
        if self._weights is not None:
            self._weights.take(rows, out=self._weight_window[:n], mode="clip")
            window, steps = self._weight_window, map(self._blocks, self._current.bounds)
            self._current.weights = [[float(window[a:b].sum(dtype=np.float64)) for a, b in blocks] for blocks in steps]
        if self._augmentation:
            self._augment(self._augmentation)

    def _cut(self, bounds: list[list[int]]) -> Cut[Batch]:
        steps = [self._blocks(of_step) for of_step in bounds]
        batches = []
        for blocks in steps:
            inputs = [self._window[a:b].T for a, b in blocks]
            targets = [self._encoder.view(a, b) for a, b in blocks]
            weights = [] if self._weights is None else [[self._weight_window[a:b] for a, b in blocks]]
            batches.append(self._bind(inputs, targets, *weights))
        sizes: list[list[float]] = [[b - a for a, b in blocks] for blocks in steps]
        return Cut(bounds, self._encoder.plan(list(chain(*steps))), batches, sizes)

    def _blocks(self, bounds: list[int]) -> list[tuple[int, int]]:
        """Return the start and end of each block of a step, from the bounds of its microbatches."""
        return list(pairwise(bounds)) if self._by_shard else [(bounds[0], bounds[-1])]

    def _augment(self, augmentation: Augmentation) -> None:
        microbatches = []
        for step, bounds in enumerate(self._current.bounds, self._start):
            for shard, (a, b) in zip(self._held, pairwise(bounds), strict=True):
                images = None if self._stored is None else self._stored[a:b]
                microbatches.append(Microbatch(self._epoch, step, shard, self._window[a:b, 1:], images))
        augmentation.apply(microbatches, self._scaler)


def _count_equal_steps(bounds: Indices) -> int:
    """Return how many steps, from the first one on, have microbatches of the same sizes: often all but the last."""
    different = [np.flatnonzero(ends - bounds[:, 0] != ends[0] - bounds[0, 0])[:1] for ends in bounds.T]
    return int(min(np.concatenate([*different, [len(bounds)]])))
