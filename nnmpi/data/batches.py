"""The batches of an epoch, gathered from a rank's samples several steps at a time."""

from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from nnmpi.data.augment import Augmentation
from nnmpi.data.prepare import Part
from nnmpi.data.scaler import Scaler
from nnmpi.data.shards import EpochOrder, Indices, Layout
from nnmpi.data.targets import Encoder, Targets

Array = npt.NDArray[np.floating]

WINDOW_BYTES = 1 << 17  # of samples gathered at once; about what stays in a core's cache until it is used


class Batches:
    """What a rank contributes to each step.

    The samples of the next steps are gathered into a *window*, with one call for all of them where they are small;
    a batch is then a view of it. Augmentation happens in the window too, from the original features, which is why
    the samples are standardized here, with `scaler`, when there is any.
    """

    def __init__(
        self,
        part: Part,
        layout: Layout,
        held: range,
        targets: Targets,
        seed: int,
        augmentation: Augmentation | None,
        scaler: Scaler,
    ) -> None:
        self._part, self._held, self._seed = part, held, seed
        self._augmentation, self._scaler = augmentation, scaler
        self._order = EpochOrder(layout, held, seed)
        self._epoch = -1
        bounds = self._order.bounds
        self._first, self._last = bounds[:, 0], bounds[:, -1]
        largest = int(np.max(self._last - self._first))

        x = part.x
        steps = max(1, min(len(bounds), WINDOW_BYTES // max(1, largest * x.shape[1] * x.itemsize)))
        capacity = steps * largest
        self._steps = steps
        self._window: Array = np.empty((capacity, x.shape[1]), x.dtype)
        self._codes = np.empty((capacity, *part.y.shape[1:]), part.y.dtype)
        self._encoder = Encoder(targets, capacity, x.dtype)
        self._by_shard = False
        self._start = self._end = 0  # the steps in the window
        self._alike = _alike(bounds)
        self._shape = 0  # of the window: how many steps that are alike; or, below 0, with which step it begins
        self._ends: list[list[int]] = []  # for each step in the window: where its microbatches begin, where it ends
        self._blocks: list[tuple[int, int]] = []  # where the blocks in the window begin and end
        self._views: list[tuple[list[Array], list[Array]]] = []  # for each step in the window: inputs and targets
        if augmentation:
            augmentation.reserve(largest)

    def start(self, epoch: int) -> None:
        """Begin `epoch` (0, 1, …)."""
        self._order.start(epoch)
        self._epoch = epoch
        self._start = self._end = 0

    def blocks(self, step: int, by_shard: bool) -> tuple[list[Array], list[Array]]:
        """The inputs, shape (1 + features, b), and targets, shape (outputs, b), of a step.

        In one block for each shard held, or in one for all.
        """
        if not self._start <= step < self._end or by_shard != self._by_shard:
            self._fill(step, by_shard)
        return self._views[step - self._start]

    def whole(self, step: int) -> Array:
        """The inputs of all blocks of a step side by side, shape (1 + features, b); after `blocks`."""
        ends = self._ends[step - self._start]
        return self._window[ends[0] : ends[-1]].T

    def columns(self, step: int, by_shard: bool) -> list[tuple[int, int, slice]]:
        """Where each shard's samples of a step are: shard, block, columns of the block."""
        bounds = (self._order.bounds[step] - self._first[step]).tolist()
        places = zip(self._held, pairwise(bounds), strict=True)
        if by_shard:
            return [(shard, block, slice(0, b - a)) for block, (shard, (a, b)) in enumerate(places)]
        return [(shard, 0, slice(a, b)) for shard, (a, b) in places]

    def _fill(self, step: int, by_shard: bool) -> None:
        self._start, self._end = step, min(step + self._steps, len(self._first))
        base = int(self._first[step])
        shape = self._end - step if self._end <= self._alike else ~step
        if shape != self._shape or by_shard != self._by_shard:
            self._shape = shape
            self._arrange((self._order.bounds[step : self._end] - base).tolist(), by_shard)
        rows = self._order.order[base : self._last[self._end - 1]]
        n = len(rows)
        self._part.x.take(rows, axis=0, out=self._window[:n], mode="clip")  # clip: raise would copy `out`
        self._part.y.take(rows, axis=0, out=self._codes[:n], mode="clip")
        self._encoder.encode(self._codes[:n], self._blocks)
        if self._augmentation:
            self._augment(self._window[:n, 1:], self._augmentation)

    def _arrange(self, ends: list[list[int]], by_shard: bool) -> None:
        """The views of a window of steps of this shape."""
        self._by_shard, self._ends = by_shard, ends
        steps = [list(pairwise(places)) if by_shard else [(places[0], places[-1])] for places in ends]
        self._blocks = list(chain(*steps))
        self._views = [
            ([self._window[a:b].T for a, b in places], [self._encoder.view(a, b) for a, b in places])
            for places in steps
        ]

    def _augment(self, features: Array, augmentation: Augmentation) -> None:
        microbatches = []
        for step, ends in enumerate(self._ends, self._start):
            for shard, (a, b) in zip(self._held, pairwise(ends), strict=True):
                microbatches.append((self._epoch, step, shard, features[a:b]))
        augmentation.apply(microbatches, features, self._scaler)


def _alike(bounds: Indices) -> int:
    """How many steps, from the first one on, are cut into microbatches of the same sizes; often all but the last."""
    different = [np.flatnonzero(ends - bounds[:, 0] != ends[0] - bounds[0, 0])[:1] for ends in bounds.T]
    return int(min(np.concatenate([*different, [len(bounds)]])))
