"""What ``train`` shows while it runs: a line for each epoch and, on a terminal, a bar."""

import threading
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nnmpi.training.session import Session

PERIOD = 0.25  # seconds between two looks at how far training has come


class Display:
    """Lines and, where `live`, a bar of the steps of `session`; only rank 0 has one.

    The bar is drawn by a thread of its own that looks at the session's progress, so a step does nothing for it.
    """

    def __init__(self, session: Session, live: bool) -> None:
        self._session, self._epochs = session, session.config.epochs
        self._bar: Progress | None = None
        self._closing = threading.Event()
        if live:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(), transient=True, auto_refresh=False)
            self._task = self._bar.add_task("epoch", total=session.layout.steps * self._epochs)
            self._bar.start()
            self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        assert self._bar
        progress = self._session.progress
        while not self._closing.wait(PERIOD):
            text = f"epoch {min(progress.epoch + 1, self._epochs)}/{self._epochs}"
            self._bar.update(self._task, completed=progress.update, description=text, refresh=True)

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Show the metrics of an epoch in a line."""
        score = "test_accuracy" if "test_accuracy" in metrics else "test_r2"
        text = f"epoch {metrics['epoch']}/{self._epochs}: train loss {metrics['train_loss']:.4f}, "
        if "validation_loss" in metrics:
            text += f"validation loss {metrics['validation_loss']:.4f}, "
        value = "undefined" if metrics[score] is None else f"{metrics[score]:.4f}"
        text += f"test loss {metrics['test_loss']:.4f}, {score.replace('_', ' ')} {value}, "
        text += f"{metrics['samples_per_second']:,.0f} samples/s"
        if self._bar:
            self._bar.console.print(text, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self._bar:
            self._closing.set()
            self._thread.join()
            self._bar.stop()
