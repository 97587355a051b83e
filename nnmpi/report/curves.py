"""Curves over the epochs: the parts of one run, or one metric of several runs."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from nnmpi.report.compare import Comparison
from nnmpi.report.run_files import RunFiles, lower_is_better
from nnmpi.report.svg import BLUE, DASHES, GREEN, INK, SERIES, VERMILLION, chart, logarithmic

PARTS = {"train": (BLUE, "-"), "validation": (VERMILLION, "--"), "test": (GREEN, ":")}
LABELS = {"train": "training"}
MOST_POINTS = 1000  # points of a curve, at most; a screen cannot show more
MOST_RUNS = len(SERIES) * len(DASHES)
NAMES = {"r2": "R²", "mae": "mean absolute error", "rmse": "root mean squared error"}
OTHERS = {"learning_rate": "learning rate", "samples_per_second": "samples/s"}


def curves(run: RunFiles) -> list[str]:
    """Return a chart for each metric with a curve for each part; then learning rate and speed if they change."""
    names = run.metrics()
    parts_of: dict[str, list[str]] = {}
    for name in names:
        part, _, metric = name.partition("_")
        if part in PARTS and metric:
            parts_of.setdefault(metric, []).append(part)
    charts = [_curve(run, metric, parts) for metric, parts in parts_of.items()]
    return charts + [_other(run, name) for name in OTHERS if name in names and _changes(run.column(name))]


def overlaid(comparison: Comparison, metric: str) -> str:
    """Return one chart with the curves of `metric` of the first `MOST_RUNS` runs."""
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
    """Return the epochs that have the metric, and its values; evenly thinned out, always with the last epoch."""
    pairs = [(e, v) for e, v in zip(run.column("epoch"), run.column(metric), strict=True) if not math.isnan(v)]
    step = math.ceil(len(pairs) / MOST_POINTS) if pairs else 1
    pairs = pairs[::-step][::-1]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _changes(values: list[float]) -> bool:
    """Tell whether the values change by more than 1 %."""
    values = [value for value in values if not math.isnan(value)]
    return len(values) > 1 and max(values) - min(values) > 0.01 * abs(max(values))


def _curve(run: RunFiles, metric: str, parts: list[str]) -> str:
    kept = run.kept_epoch()
    falling = lower_is_better(metric)
    with chart(f"{metric} by epoch") as drawn:
        shown: list[float] = []
        for part in sorted(parts, key=list(PARTS).index):
            colour, dash = PARTS[part]
            epochs, values = points(run, f"{part}_{metric}")
            shown += values
            label = LABELS.get(part, part)
            drawn.axes.plot(epochs, values, color=colour, linestyle=dash, label=label, marker="o", markersize=2.2)
        if kept is not None and "validation" in parts:
            epoch = run.column("epoch")[kept]
            drawn.axes.axvline(epoch, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
            drawn.axes.annotate(
                f"kept: epoch {epoch:.0f}",
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
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    logarithmic(axes, values)
