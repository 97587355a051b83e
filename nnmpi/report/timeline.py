"""What a rank did when: rows of numbers while a run goes on, slices of a timeline when it has ended."""

import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
Row = tuple[int, int, int, int]  # index in SLICES, start and end in ns, number

# what a slice shows, and what kind of thing that is; "reduction" and "exchange" are collectives, their numbers those
# of `Position`; the number of a "batch" is that of its step; a phase has no end, it lasts until the next
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
STEPS = 2000  # kept in full of the beginning of a run, and as many of its end
STEPS_OF_ALL = 16_000  # the same for all ranks together: of 64 ranks 250 each
PARTS = 10  # what lies between is left out in parts of STEPS / PARTS
WRITTEN = 4000  # rows that are kept of the thread that writes checkpoints

clock = time.perf_counter_ns


class Timeline:
    """The rows of one rank, at most so many that those of all `size` ranks can be looked at on one page.

    Nothing in the loop knows of it: `time` puts itself in front of the methods of a network, an optimizer, … so that
    without a timeline there is nothing that could cost anything. ``written`` are the rows of the thread that writes
    checkpoints. ``left_out`` are the numbers of the first step that is not kept and of the next that is.
    """

    def __init__(self, size: int = 1) -> None:
        keep = min(STEPS, STEPS_OF_ALL // size)
        self._part = max(1, keep // PARTS)
        self._rows: list[int] = []
        self._first: list[array[int]] = []
        self._last: deque[tuple[int, array[int]]] = deque()  # and the step with which each begins
        self._begin = self._next = 0
        self._phase: Row = (NUMBERS["start-up"], clock(), 0, 0)
        self._rows.extend(self._phase)
        self.written: deque[int] = deque(maxlen=4 * WRITTEN)
        self.left_out: tuple[int, int] | None = None

    def timed(self, name: str, call: Call, number: Callable[[], int] | None = None, rows: Any = None) -> Call:
        """`call`, with a row of what it took; `number` tells which one of many alike it was."""
        extend, kind = (self._rows if rows is None else rows).extend, NUMBERS[name]

        def timed(*arguments: Any, **named: Any) -> Any:
            start = clock()
            try:
                return call(*arguments, **named)
            finally:
                extend((kind, start, clock(), 0))

        def numbered(*arguments: Any) -> Any:
            start = clock()
            try:
                return call(*arguments)
            finally:
                extend((kind, start, clock(), number()))  # type: ignore[misc]

        return numbered if number else timed

    def time(self, thing: Any, **names: str) -> None:
        """From now on ``thing.method(…)`` leaves a row, for each ``method="name"`` given."""
        for method, name in names.items():
            setattr(thing, method, self.timed(name, getattr(thing, method)))

    def time_thread(self, thing: Any, **names: str) -> None:
        """The same for methods that the thread that writes checkpoints calls."""
        for method, name in names.items():
            setattr(thing, method, self.timed(name, getattr(thing, method), rows=self.written))

    def time_steps(self, batches: Any, update: Callable[[], int]) -> None:
        """From now on ``batches.batch(…)`` begins a step; `update` tells its number."""
        self._next = update()
        batch = self.timed("batch", batches.batch, update)

        def begin(*arguments: Any) -> Any:
            if update() >= self._next:
                self._turn(update())
            return batch(*arguments)

        batches.batch = begin

    def phase(self, name: str) -> None:
        """Begin a phase of the run."""
        self._phase = (NUMBERS[name], clock(), 0, 0)
        self._rows.extend(self._phase)

    def rows(self) -> bytes:
        """All rows that were kept, in the order in which they ended, as 64-bit numbers."""
        parts = (*self._first, *(part for _, part in self._last), array("q", self._rows))
        return b"".join(part.tobytes() for part in parts)

    def _turn(self, step: int) -> None:
        """Put the rows so far aside; all ranks do it in the same step."""
        part = array("q", self._rows)
        self._rows.clear()  # not a new list: what is in front of the methods holds on to this one
        self._rows.extend(self._phase)  # it may have begun in a part that will be left out
        if len(self._first) <= PARTS:  # the first of them is what was before the first step
            self._first.append(part)
        else:
            self._last.append((self._begin, part))
        if len(self._last) > PARTS:
            begin, _ = self._last.popleft()
            self.left_out = (self.left_out[0] if self.left_out else begin, self._last[0][0])
        self._begin, self._next = step, step + self._part
