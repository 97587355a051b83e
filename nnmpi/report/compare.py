"""Several runs side by side: the settings that differ and the scores."""

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
from nnmpi.setting import shown

# settings that say where results go, not what they are
ABOUT_FILES = ("output", "overwrite", "resume", "timeline", "report", "log", "config", "checkpoint_every", "keep")


@dataclass(frozen=True)
class Comparison:
    """Runs in order, and what to show of them.

    Attributes
    ----------
    runs : list of RunFiles
    names : list of str
        What each run is called: its path without what all paths begin with.
    settings : list of str
        The settings that are not the same in all runs that can be read, ``world_size`` among them.
    metrics : list of str
        The metrics of the parts, that of the order first.
    """

    runs: list[RunFiles]
    names: list[str]
    settings: list[str]
    metrics: list[str]

    def setting(self, run: RunFiles, name: str) -> str:
        """The value of a setting of a run as the command line writes it; "" if the run has none."""
        values = values_of(run)
        return shown(values[name]) if name in values else ""

    def as_json(self) -> str:
        """All of it as JSON text; a setting or metric that a run lacks is left out."""
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
        """All of it as CSV text with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["run", "state", "problem", *self.settings, *self.metrics])
        for name, run in zip(self.names, self.runs, strict=True):
            scores = run.scores()
            settings = [self.setting(run, key) for key in self.settings]
            writer.writerow([name, run.state, run.problem, *settings, *(scores.get(key, "") for key in self.metrics)])
        return text.getvalue()


def compare(runs: list[RunFiles], sort: str | None = None) -> Comparison:
    """Put `runs` in the order of the metric `sort`, the best first; those without it come last.

    Without `sort` the order is that of a validation score, else of a test score, if there is one.

    Raises
    ------
    InputError
        If no run has the metric.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.scores()))
    if sort is not None and f"{sort}_macro" in names:
        sort = f"{sort}_macro"
    if sort is not None and sort not in names:
        near = difflib.get_close_matches(sort, names, 1)
        advice = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"--sort {sort}: no run has this metric{advice} Allowed are {', '.join(names) or 'none'}")
    key = sort or _usual(names)
    if key is not None:
        worst = math.inf if lower_is_better(key) else -math.inf
        runs = sorted(runs, key=lambda run: run.scores().get(key, worst), reverse=not lower_is_better(key))
    metrics = sorted(names, key=lambda name: (name != key, _part(name), name.endswith("_loss")))
    return Comparison(runs, run_names([run.directory for run in runs]), _differing(runs), metrics)


def values_of(run: RunFiles) -> dict[str, Any]:
    """The settings of a run and its world size."""
    values = {name: value for name, value in run.settings.items() if name not in ABOUT_FILES}
    if "world_size" in run.config:
        values["world_size"] = run.config["world_size"]
    return values


def run_names(directories: list[Path]) -> list[str]:
    """A short name for each directory: its path without the directories that all have in common."""
    paths = [os.path.abspath(directory) for directory in directories]
    parents = {os.path.dirname(path) for path in paths}
    common = os.path.commonpath(parents) if parents else ""
    return [os.path.relpath(path, common) for path in paths]


def _differing(runs: list[RunFiles]) -> list[str]:
    readable = [values_of(run) for run in runs if run.settings]
    names = dict.fromkeys(name for values in readable for name in values)
    return [name for name in names if len({json.dumps(v.get(name), sort_keys=True) for v in readable}) > 1]


def _part(name: str) -> int:
    return ("validation", "test", "train").index(name.split("_")[0])


def _usual(names: list[str]) -> str | None:
    """The metric to order by if none is asked for: no loss, which depends on settings, and never that of training."""
    for part in ("validation_", "test_"):
        for name in names:
            if name.startswith(part) and not name.endswith("_loss"):
                return name
    return names[0] if names else None
