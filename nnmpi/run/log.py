"""What rank 0 writes down and shows while a run goes on."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nnmpi.run.modelfile import write_whole


class RunLog:
    """The directory of a run: ``config.json``, ``metrics.jsonl``, and a line or a progress bar for the terminal."""

    def __init__(self, directory: Path, settings: dict[str, Any], steps: int, epochs: int) -> None:
        write_whole(directory / "config.json", (json.dumps(settings, indent=2) + "\n").encode())
        self._metrics = open(directory / "metrics.jsonl", "w", encoding="utf-8")  # noqa: SIM115 (closed in close)
        self._epochs = epochs
        self._progress: Progress | None = None
        if sys.stdout.isatty():
            self._progress = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("steps"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[last]}"),
                console=Console(),
                transient=True,
            )
            self._task = self._progress.add_task("", total=steps * epochs, epoch="", last="")
            self._progress.start()

    def step(self, done: int) -> None:
        """Show that `done` steps of the run are done."""
        if self._progress:
            self._progress.update(self._task, completed=done)

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Append `metrics` as one line of JSON, and show them."""
        self._metrics.write(json.dumps(metrics) + "\n")
        self._metrics.flush()
        name = "test_accuracy" if "test_accuracy" in metrics else "test_r2"
        text = f"epoch {metrics['epoch']}/{self._epochs}: train loss {metrics['train_loss']:.4f}, "
        if "validation_loss" in metrics:
            text += f"validation loss {metrics['validation_loss']:.4f}, "
        text += f"test loss {metrics['test_loss']:.4f}, {name.replace('_', ' ')} {metrics[name]:.4f}, "
        text += f"{metrics['samples_per_second']:,.0f} samples/s"
        if self._progress:
            self._progress.update(self._task, epoch=f"{metrics['epoch']}/{self._epochs}")
            self._progress.console.print(text, highlight=False)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """End the progress bar and the files."""
        if self._progress:
            self._progress.stop()
        self._metrics.close()
