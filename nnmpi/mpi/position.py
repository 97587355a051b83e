"""The position of a rank: its phase, epoch, step and collective. The watchdog and the timeline read it."""

from collections.abc import Callable
from typing import Any, Protocol

Call = Callable[..., Any]


class Recorder(Protocol):
    """Records what a rank does and when; `nnmpi.report.timeline.Timeline` is one."""

    def phase(self, name: str) -> None:
        """Begin a phase of the run."""

    def timed(self, name: str, call: Call, number: Callable[[], int]) -> Call:
        """Return a function that makes `call` and records it under `name`, with the number that `number` returns."""


class Position:
    """The position of a rank: its phase, how far training has come, and whether it is in a collective.

    ``collectives`` goes up by one when the rank enters a collective, and again when it leaves it, so inside it is odd.
    All ranks go through the same collectives in the same order, so equal numbers mean the same collective.
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
        """Return `call`, in which all ranks take part; it is recorded in the timeline, if there is one."""
        return self.timeline.timed(name, call, lambda: self.collectives) if self.timeline else call

    def counted(self, call: Call, name: str | None = "exchange") -> Call:
        """Return `call`, an MPI call of all ranks, counted in ``collectives``; with a `name` it is also timed."""
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
    """Return ``training, epoch 3, step 12``, or ``evaluation, after epoch 3, step 45``.

    `epoch` counts the finished epochs, `step` the finished steps of the current epoch.
    """
    if phase == "training":
        return f"{phase}, epoch {epoch + 1}, step {step + 1}"
    if step:
        return f"{phase}, after epoch {epoch + 1}, step {step}"
    return f"{phase}, after epoch {epoch}" if epoch else phase
