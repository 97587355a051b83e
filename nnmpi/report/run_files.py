"""Read the files of a run without trusting them: a run may be unfinished, damaged or somebody else's."""

import contextlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnmpi.training.metrics import METRICS, larger_is_better

LARGEST_CONFIG = 1 << 24  # bytes
LARGEST_LOG = 1 << 27  # bytes of metrics.jsonl; a line has about 400
COUNTS = ("samples", "weight")  # entries of a part's scores that are no metrics


@dataclass(frozen=True)
class RunFiles:
    """The ``config.json`` and ``metrics.jsonl`` of a run.

    Attributes
    ----------
    directory : Path
        The directory of the run.
    state : {"finished", "unfinished", "damaged"}
        "unfinished": ``config.json`` has no end of the run; it is running, was stopped or died.
    problem : str
        What is wrong, in one line; "" if nothing is.
    config : dict
        The contents of ``config.json``; {} if it cannot be read.
    epochs : list of dict
        The readable lines of ``metrics.jsonl``.
    """

    directory: Path
    state: str
    problem: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run by name; {} if they cannot be read."""
        settings = self.config.get("settings")
        return settings if isinstance(settings, dict) else {}

    @property
    def note(self) -> str:
        """The problem, with the state if the problem does not begin with it; "" if there is none."""
        if not self.problem or self.problem.startswith(self.state):
            return self.problem
        return f"{self.state}: {self.problem}"

    def column(self, name: str) -> list[float]:
        """Return the metric `name` of each epoch; NaN where it is missing or not a finite number."""
        return [number(metrics.get(name)) for metrics in self.epochs]

    def metrics(self) -> list[str]:
        """Return the names of the metrics that have a finite value in at least one epoch."""
        names = dict.fromkeys(name for metrics in self.epochs for name in metrics)
        return [name for name in names if not all(math.isnan(value) for value in self.column(name))]

    def kept_epoch(self) -> int | None:
        """Return the index in ``epochs`` of the kept parameters: the best epoch with early stopping, else the last."""
        monitor = str(self.settings.get("monitor", "validation_loss"))
        values = self.column(monitor)
        if not values:
            return None
        if not self.settings.get("early_stopping") or all(math.isnan(value) for value in values):
            return len(values) - 1
        sign = -1 if larger_is_better(monitor.removeprefix("validation_")) else 1
        return min(range(len(values)), key=lambda i: math.inf if math.isnan(values[i]) else sign * values[i])

    def scores(self) -> dict[str, float]:
        """Return the training, validation and test metrics of the kept epoch."""
        kept = self.kept_epoch()
        if kept is None:
            return {}
        parts = ("train_", "validation_", "test_")
        values = {name: number(value) for name, value in self.epochs[kept].items() if name.startswith(parts)}
        final = self.config.get("scores")
        for part, scores in final.items() if isinstance(final, dict) else ():
            if f"{part}_" in parts and isinstance(scores, dict):
                values |= {f"{part}_{name}": number(value) for name, value in scores.items() if name not in COUNTS}
        return {name: value for name, value in values.items() if not math.isnan(value)}


def read_run(directory: Path) -> RunFiles:
    """Read the run in `directory`. What cannot be read becomes the ``problem`` of the result, not an error."""
    try:
        if not directory.is_dir():
            return RunFiles(directory, "damaged", "no such directory" if not directory.exists() else "not a directory")
        config = _object(_contents(directory / "config.json", LARGEST_CONFIG))
    except FileNotFoundError:
        return RunFiles(directory, "damaged", "no config.json: not a run, or a run that stopped before its first step")
    except (OSError, ValueError, RecursionError) as error:
        return RunFiles(directory, "damaged", f"config.json cannot be read ({_reason(error)})")
    if not (isinstance(config.get("settings"), dict) and config["settings"]):
        return RunFiles(directory, "damaged", "config.json has no settings", config)
    try:
        epochs, bad = _epochs(_contents(directory / "metrics.jsonl", LARGEST_LOG))
    except (OSError, ValueError) as error:
        return RunFiles(directory, "damaged", f"metrics.jsonl cannot be read ({_reason(error)})", config)
    if bad:
        return RunFiles(directory, "damaged", f"metrics.jsonl has {bad} unreadable line(s)", config, epochs)
    if config.get("finished") is True:
        return RunFiles(directory, "finished", "", config, epochs)
    planned = config["settings"].get("epochs")
    done = f"{len(epochs)} of {planned} epochs" if isinstance(planned, int) else f"{len(epochs)} epochs"
    return RunFiles(directory, "unfinished", f"unfinished after {done}", config, epochs)


def number(value: Any) -> float:
    """Return `value` as a float; NaN if it is not a finite number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value) if math.isfinite(value) else math.nan
        except OverflowError:
            return math.nan
    return math.nan


def lower_is_better(metric: str) -> bool:
    """Tell whether a smaller value of `metric` is better."""
    part, _, name = metric.partition("_")
    name = name if part in ("train", "validation", "test") else metric
    known = any(name in metrics for metrics in METRICS.values())
    return not larger_is_better(name) if known else name.endswith("loss")


def _contents(path: Path, largest: int) -> bytes:
    if path.exists() and not path.is_file():  # reading a pipe may never end
        raise ValueError("not a file")
    with open(path, "rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"larger than {largest} bytes")
    return data


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _epochs(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the epochs of a log and the number of bad lines; a last line without a line end is still being written."""
    lines = data.split(b"\n")
    epochs = []
    for line in lines[:-1]:
        with contextlib.suppress(ValueError, RecursionError):
            metrics = _object(line)
            if math.isfinite(number(metrics.get("epoch"))):
                epochs.append(metrics)
    return epochs, sum(1 for line in lines[:-1] if line.strip()) - len(epochs)


def _reason(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error).splitlines()[0][:200]
