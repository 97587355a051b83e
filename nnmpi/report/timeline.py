"""Record what a rank does and when: rows of numbers, which `nnmpi.report.trace` turns into slices of a timeline."""

import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
Row = tuple[int, int, int, int]  # index in SLICES, start and end in ns, number

# name of a slice: its category. "reduction" and "exchange" are collectives: their row has the number of the collective,
# as in `Position`. The row of a "batch" has the number of its step. A phase has no end: it lasts until the next phase.
SLICES = {
    "batch": "compute",
    "dropout": "compute",
    "forward": "compute",
    "loss": "compute",
    "backward": "compute",
    "l2": "compute",
    "update": "compute",
    "reduce": "communication",
    "waiting": "waiting",
    "reduction": "communication",
    "exchange": "communication",
    "log": "I/O",
    "write a model": "I/O",
    "write a checkpoint": "I/O",
    "checkpoint to the disk": "I/O",
    "start-up": "phase",
    "recovery": "phase",
    "training": "phase",
    "evaluation": "phase",
    "checkpoint": "phase",
    "end": "phase",
}
NUMBERS = {name: i for i, name in enumerate(SLICES)}
STEPS = 2000  # steps kept at the beginning of a run, and as many at its end
STEPS_OF_ALL = 16_000  # the same for all ranks together: 64 ranks keep 250 each
PARTS = 10  # the steps between are dropped in parts of STEPS / PARTS
WRITTEN = 4000  # rows kept of the thread that writes checkpoints: the last

clock = time.perf_counter_ns


class Timeline:
    """The rows of one rank. Their number is limited, so that one page can show the rows of all `size` ranks.

    The training loop does not know the timeline: `time` wraps methods of the network, the optimizer and so on. So a run
    without a timeline has no overhead. ``written`` holds the rows of the thread that writes checkpoints. ``left_out``
    is None or two steps: the first that is dropped and the next that is kept.
    """

    def __init__(self, size: int = 1) -> None:
        keep = min(STEPS, STEPS_OF_ALL // size)
        self._part = max(1, keep // PARTS)
        self._rows: list[int] = []
        self._first: list[array[int]] = []
        self._last: deque[tuple[int, array[int]]] = deque()  # with the first step of each
        self._begin = self._next = 0
        self._phase: Row = (NUMBERS["start-up"], clock(), 0, 0)
        self._rows.extend(self._phase)
        self.written: deque[int] = deque(maxlen=4 * WRITTEN)
        self.left_out: tuple[int, int] | None = None

    def timed(self, name: str, call: Call, number: Callable[[], int] | None = None, rows: Any = None) -> Call:
        """Return a function that calls `call` and records a row; `number` returns the number of the row."""
        extend, code = (self._rows if rows is None else rows).extend, NUMBERS[name]

        def timed(*arguments: Any, **named: Any) -> Any:
            start = clock()
            try:
                return call(*arguments, **named)
            finally:
                extend((code, start, clock(), 0))

        def numbered(*arguments: Any) -> Any:
            start = clock()
            try:
                return call(*arguments)
            finally:
                extend((code, start, clock(), number()))  # type: ignore[misc]

        return numbered if number else timed

    def time(self, thing: Any, rows: Any = None, **names: str) -> None:
        """Record each call of the methods of `thing` from now on; `names` are given as ``method="name"``.

        Methods that the thread that writes checkpoints calls need `rows` of their own: ``written``.
        """
        for method, name in names.items():
            setattr(thing, method, self.timed(name, getattr(thing, method), rows=rows))

    def time_steps(self, batches: Any, update: Callable[[], int]) -> None:
        """Begin a step at each call of ``batches.batch`` from now on; `update` returns the number of the step."""
        self._next = update()
        batch = self.timed("batch", batches.batch, update)

        def begin(*arguments: Any) -> Any:
            if update() >= self._next:
                self._begin_part(update())
            return batch(*arguments)

        batches.batch = begin

    def phase(self, name: str) -> None:
        """Begin a phase of the run."""
        self._phase = (NUMBERS[name], clock(), 0, 0)
        self._rows.extend(self._phase)

    def rows(self) -> bytes:
        """Return all kept rows as 64-bit integers, in the order in which they ended."""
        parts = (*self._first, *(part for _, part in self._last), array("q", self._rows))
        return b"".join(part.tobytes() for part in parts)

    def _begin_part(self, step: int) -> None:
        """Store the rows so far as a part and begin the next part at `step`, the same on all ranks."""
        part = array("q", self._rows)
        self._rows.clear()  # not a new list: the wrappers hold this one
        self._rows.extend(self._phase)  # it may have begun in a part that will be dropped
        if len(self._first) <= PARTS:  # the first part is from before the first step
            self._first.append(part)
        else:
            self._last.append((self._begin, part))
        if len(self._last) > PARTS:
            begin, _ = self._last.popleft()
            self.left_out = (self.left_out[0] if self.left_out else begin, self._last[0][0])
        self._begin, self._next = step, step + self._part
