"""Where a rank is, for those who ask: its watchdog and its timeline."""

from collections.abc import Callable
from typing import Any, Protocol

Call = Callable[..., Any]


class Recorder(Protocol):
    """What records when a rank does what; `nnmpi.report.timeline.Timeline` is one."""

    def phase(self, name: str) -> None:
        """Begin a phase of the run."""

    def timed(self, name: str, call: Call, number: Callable[[], int]) -> Call:
        """`call`, recorded each time under `name`; `number` tells which one of many alike it was."""


class Position:
    """Where a rank is: the phase, how far training has come, and whether it is in a collective.

    ``collectives`` goes up when the rank enters a collective and when it leaves it, so inside it is odd. All ranks go
    through the same collectives in the same order: the number says which one it is.
    """

    def __init__(self) -> None:
        self.collectives = 0
        self.phase = "start-up"
        self.epoch_and_step: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.timeline: Recorder | None = None

    def enter(self, phase: str) -> None:
        """Begin a phase, which lasts until the next one begins."""
        self.phase = phase
        if self.timeline:
            self.timeline.phase(phase)

    def timed(self, call: Call, name: str) -> Call:
        """`call`, in which all ranks take part, in the timeline, if there is one."""
        return self.timeline.timed(name, call, lambda: self.collectives) if self.timeline else call

    def counted(self, call: Call, name: str | None = "exchange") -> Call:
        """`call`, an MPI call in which all ranks take part, counted; timed, too, if there is a `name`."""
        if name:
            call = self.timed(call, name)

        def collective(*arguments: Any) -> Any:
            self.collectives += 1
            try:
                return call(*arguments)
            finally:
                self.collectives += 1

        return collective


def place(phase: str, epoch: int, step: int) -> str:
    """``training, epoch 3, step 12``, and in other phases after which step; `epoch` and `step` are those done."""
    if phase == "training":
        return f"{phase}, epoch {epoch + 1}, step {step + 1}"
    if step:
        return f"{phase}, after epoch {epoch + 1}, step {step}"
    return f"{phase}, after epoch {epoch}" if epoch else phase
