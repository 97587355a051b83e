"""Compare runs: the settings that differ, and the scores."""

import csv
import difflib
import io
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnmpi.errors import InputError
from nnmpi.report.run_files import RunFiles, lower_is_better
from nnmpi.setting import flag_value

# settings of files and output, which do not change the results
ABOUT_FILES = ("output", "overwrite", "resume", "timeline", "report", "log", "config", "checkpoint_every", "keep")


@dataclass(frozen=True)
class Comparison:
    """Runs in order, with the settings and metrics to show.

    Attributes
    ----------
    runs : list of RunFiles
    names : list of str
        The name of each run: its path relative to the directory that all runs share.
    settings : list of str
        The settings that differ between readable runs; ``world_size`` counts as a setting.
    metrics : list of str
        The metrics of all parts; the metric that orders the runs is the first.
    """

    runs: list[RunFiles]
    names: list[str]
    settings: list[str]
    metrics: list[str]

    def setting(self, run: RunFiles, name: str) -> str:
        """Return a setting of a run as the command line writes it; "" if the run does not have it."""
        values = values_of(run)
        return flag_value(values[name]) if name in values else ""

    def as_json(self) -> str:
        """Return the comparison as JSON text, without the settings and metrics that a run lacks."""
        rows = []
        for name, run in zip(self.names, self.runs, strict=True):
            values = values_of(run)
            rows.append(
                {
                    "run": name,
                    "directory": str(run.directory),
                    "state": run.state,
                    "problem": run.problem,
                    "epochs": len(run.epochs),
                    "settings": {key: values[key] for key in self.settings if key in values},
                    "scores": run.scores(),
                }
            )
        return json.dumps(rows, indent=2)

    def as_csv(self) -> str:
        """Return the comparison as CSV text with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["run", "state", "problem", *self.settings, *self.metrics])
        for name, run in zip(self.names, self.runs, strict=True):
            scores = run.scores()
            settings = [self.setting(run, key) for key in self.settings]
            writer.writerow([name, run.state, run.problem, *settings, *(scores.get(key, "") for key in self.metrics)])
        return text.getvalue()


def compare(runs: list[RunFiles], sort: str | None = None) -> Comparison:
    """Sort `runs` by the metric `sort`, the best first; runs without it come last.

    Without `sort`, a validation metric other than the loss orders the runs, else such a test metric, else any metric.

    Raises
    ------
    InputError
        If no run has the metric.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.scores()))
    if sort is not None and f"{sort}_macro" in names:
        sort = f"{sort}_macro"
    if sort is not None and sort not in names:
        matches = difflib.get_close_matches(sort, names, 1)
        advice = f"; did you mean {matches[0]}?" if matches else ""
        raise InputError(f"--sort {sort}: no run has this metric; allowed are {', '.join(names) or 'none'}{advice}")
    key = sort or _default_metric(names)
    if key is not None:
        worst = math.inf if lower_is_better(key) else -math.inf
        runs = sorted(runs, key=lambda run: run.scores().get(key, worst), reverse=not lower_is_better(key))
    parts = ("validation", "test", "train")
    metrics = sorted(names, key=lambda name: (name != key, parts.index(name.split("_")[0]), name.endswith("_loss")))
    return Comparison(runs, run_names([run.directory for run in runs]), _differing(runs), metrics)


def values_of(run: RunFiles) -> dict[str, Any]:
    """Return the settings of a run without `ABOUT_FILES`, and its world size."""
    values = {name: value for name, value in run.settings.items() if name not in ABOUT_FILES}
    if "world_size" in run.config:
        values["world_size"] = run.config["world_size"]
    return values


def run_names(directories: list[Path]) -> list[str]:
    """Return a short name for each directory: its path relative to the directory that all share."""
    paths = [os.path.abspath(directory) for directory in directories]
    parents = {os.path.dirname(path) for path in paths}
    common = os.path.commonpath(parents) if parents else ""
    return [os.path.relpath(path, common) for path in paths]


def _differing(runs: list[RunFiles]) -> list[str]:
    readable = [values_of(run) for run in runs if run.settings]
    names = dict.fromkeys(name for values in readable for name in values)
    return [name for name in names if len({json.dumps(v.get(name), sort_keys=True) for v in readable}) > 1]


def _default_metric(names: list[str]) -> str | None:
    """Return the metric for the order: validation before test; a loss depends on settings and is a last resort."""
    for part in ("validation_", "test_"):
        for name in names:
            if name.startswith(part) and not name.endswith("_loss"):
                return name
    return names[0] if names else None
