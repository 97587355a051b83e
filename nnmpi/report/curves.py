"""The curves of training: of one run its parts, of several runs one part."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from nnmpi.report.compare import Comparison
from nnmpi.report.run_files import RunFiles, lower_is_better
from nnmpi.report.svg import BLUE, DASHES, GREEN, INK, SERIES, VERMILLION, chart, logarithmic

PARTS = {"train": (BLUE, "-"), "validation": (VERMILLION, "--"), "test": (GREEN, ":")}
LABELS = {"train": "training"}
MOST_POINTS = 1000  # of a curve; an epoch more shows nothing on a screen
MOST_RUNS = len(SERIES) * len(DASHES)
NAMES = {"r2": "R²", "mae": "mean absolute error", "rmse": "root mean squared error"}
OTHERS = {"learning_rate": "learning rate", "samples_per_second": "samples/s"}


def curves(run: RunFiles) -> list[str]:
    """A chart for each metric of the run, with a curve for each part, the loss first; then learning rate and speed."""
    names = run.metrics()
    parts_of: dict[str, list[str]] = {}
    for name in names:
        part, _, metric = name.partition("_")
        if part in PARTS and metric:
            parts_of.setdefault(metric, []).append(part)
    charts = [_curve(run, metric, parts) for metric, parts in parts_of.items()]
    return charts + [_other(run, name) for name in OTHERS if name in names and _changes(run.column(name))]


def overlaid(comparison: Comparison, metric: str) -> str:
    """The curves of `metric` of the first runs of a comparison in one chart."""
    with chart(f"{metric} of all runs", 6.4, 3.6) as drawn:
        shown: list[float] = []
        for i, (name, run) in enumerate(zip(comparison.names, comparison.runs, strict=True)):
            epochs, values = points(run, metric)
            if i < MOST_RUNS and values:
                shown += values
                style: dict[str, Any] = {"color": SERIES[i % len(SERIES)], "linestyle": DASHES[i // len(SERIES)]}
                marker = "o" if len(values) == 1 else None
                label = name if len(name) <= 28 else "…" + name[-27:]
                drawn.axes.plot(epochs, values, label=label.lstrip("_"), marker=marker, markersize=3, **style)
        _axes(drawn.axes, metric.replace("_", " "), shown if lower_is_better(metric) else [])
        if shown:
            drawn.figure.legend(loc="outside right upper", fontsize=7)
    return drawn.svg


def points(run: RunFiles, metric: str) -> tuple[list[float], list[float]]:
    """The epochs that have the metric and its values in them, thinned out evenly, the last always there."""
    pairs = [(e, v) for e, v in zip(run.column("epoch"), run.column(metric), strict=True) if not math.isnan(v)]
    step = math.ceil(len(pairs) / MOST_POINTS) if pairs else 1
    pairs = pairs[::-step][::-1]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _changes(values: list[float]) -> bool:
    """Whether a curve of the values shows more than a line."""
    values = [value for value in values if not math.isnan(value)]
    return len(values) > 1 and max(values) - min(values) > 0.01 * abs(max(values))


def _curve(run: RunFiles, metric: str, parts: list[str]) -> str:
    best = run.best_epoch()
    falling = lower_is_better(metric)
    with chart(f"{metric} by epoch") as drawn:
        shown: list[float] = []
        for part in sorted(parts, key=list(PARTS).index):
            colour, dash = PARTS[part]
            epochs, values = points(run, f"{part}_{metric}")
            shown += values
            label = LABELS.get(part, part)
            drawn.axes.plot(epochs, values, color=colour, linestyle=dash, label=label, marker="o", markersize=2.2)
        if best is not None and "validation" in parts:
            epoch = run.column("epoch")[best]
            drawn.axes.axvline(epoch, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
            drawn.axes.annotate(
                f"best: epoch {epoch:.0f}",
                (epoch, 1 if falling else 0),
                xycoords=("data", "axes fraction"),
                xytext=(-3, -2 if falling else 2),
                textcoords="offset points",
                ha="right",
                va="top" if falling else "bottom",
                fontsize=8,
            )
        _axes(drawn.axes, NAMES.get(metric, metric.replace("_", " ")), shown if falling else [])
        if len(parts) > 1:
            drawn.figure.legend(loc="outside upper right", ncols=3)
    return drawn.svg


def _other(run: RunFiles, name: str) -> str:
    with chart(f"{OTHERS[name]} by epoch", 4.4, 2.2) as drawn:
        epochs, values = points(run, name)
        drawn.axes.plot(epochs, values, color=BLUE, marker="o", markersize=2.2)
        _axes(drawn.axes, OTHERS[name], values if name == "learning_rate" else [])
        if name == "samples_per_second":
            drawn.axes.set_ylim(bottom=0)
            drawn.axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return drawn.svg


def _axes(axes: Axes, label: str, values: list[float]) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    logarithmic(axes, values)
