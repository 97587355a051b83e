"""What rank 0 writes down and shows while a run goes on."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nnmpi.files.atomic import open_to_append, write_whole

LONGEST_LINE = 1 << 16  # bytes of metrics.jsonl that are read as one; ours are a few hundred


class RunLog:
    """The directory of a run: ``config.json``, ``metrics.jsonl``, and a line for each epoch or, `live`, a bar.

    Of an earlier log the lines of the first `done` epochs are kept: those that a resumed run does not do again. What
    it lacks of them is taken from `history`, the metrics of epochs that this rank took part in while another wrote.
    """

    def __init__(
        self,
        directory: Path,
        settings: dict[str, Any],
        steps: int,
        epochs: int,
        done: int,
        history: list[dict[str, Any]],
        live: bool,
    ) -> None:
        self._config, self._settings = directory / "config.json", settings
        self._write_config()
        path = directory / "metrics.jsonl"
        kept = _first_epochs(path, done)
        write_whole(path, b"".join(kept))
        self._metrics = open_to_append(path)
        self._epochs = epochs
        self._progress: Progress | None = None
        self._next, self._every = 0, max(1, steps * epochs // 200)
        if live:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
            self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(), transient=True)
            self._task = self._progress.add_task(f"epoch 1/{epochs}", total=steps * epochs)
            self._progress.start()
        for metrics in history:
            if len(kept) < metrics["epoch"] <= done:
                self.epoch(metrics)

    def _write_config(self) -> None:
        write_whole(self._config, (json.dumps(self._settings, indent=2, allow_nan=False) + "\n").encode())

    def step(self, done: int) -> None:
        """Show that `done` steps of the run are done; most calls do nothing, to stay off the step's path."""
        if self._progress and done >= self._next:
            self._progress.update(self._task, completed=done)
            self._next = done + self._every

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Append `metrics` as one line of JSON, and show them."""
        self._metrics.write(json.dumps(metrics, allow_nan=False) + "\n")
        self._metrics.flush()
        name = "test_accuracy" if "test_accuracy" in metrics else "test_r2"
        text = f"epoch {metrics['epoch']}/{self._epochs}: train loss {metrics['train_loss']:.4f}, "
        if "validation_loss" in metrics:
            text += f"validation loss {metrics['validation_loss']:.4f}, "
        text += f"test loss {metrics['test_loss']:.4f}, {name.replace('_', ' ')} "
        text += "undefined, " if metrics[name] is None else f"{metrics[name]:.4f}, "
        text += f"{metrics['samples_per_second']:,.0f} samples/s"
        if self._progress:
            now = min(metrics["epoch"] + 1, self._epochs)
            self._progress.update(self._task, description=f"epoch {now}/{self._epochs}")
            self._progress.console.print(text, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def finished(self) -> None:
        """Note in ``config.json`` that the run came to its end."""
        self._settings["finished"] = True
        self._write_config()

    def close(self) -> None:
        """End the progress bar and the files."""
        if self._progress:
            self._progress.stop()
        self._metrics.close()


def _first_epochs(path: Path, epochs: int) -> list[bytes]:
    """The lines of the epochs from 1 to `epochs`; one that was not written to its end belongs to none."""
    if not epochs or path.is_symlink() or not path.is_file():
        return []
    kept: dict[int, bytes] = {}
    with open(path, "rb") as file:
        while line := file.readline(LONGEST_LINE):
            try:
                epoch = json.loads(line)["epoch"]
                if isinstance(epoch, int) and 1 <= epoch <= epochs and line.endswith(b"\n"):
                    kept[epoch] = line
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return list(kept.values())
