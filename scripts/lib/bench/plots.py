"""Plots of the results, readable at half the width of a page."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import table
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator

COLOURS = {
    "nnmpi": "#0b6e4f",
    "limit": "black",
    "PyTorch DDP": "#d1495b",
    "PyTorch": "#e58a95",
    "nnmpi launch": "#5fb89a",
    "JAX": "#2e5eaa",
    "JAX, gathering": "#2ea0aa",
    "JAX scan": "#8fb0e0",
    "JAX, mpi4jax": "#2e5eaa",
    "JAX scan, mpi4jax": "#8fb0e0",
    "scikit-learn": "#edae49",
    "Keras": "#8a6fb0",
}
MARKERS = {"nnmpi": "D", "limit": "|"}
PARTS = {"products": "matrix products", "reduction": "reduction", "update": "update", "rest": "the rest"}
PART_COLOURS = ("#0b6e4f", "#2e5eaa", "#edae49", "#c9c9c9")


def draw(results: dict[str, Any], directory: Path) -> None:
    """Draw steps.png, shares.png, scaling.png and growth.png, if their parts were measured."""
    plt.rcParams.update({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False})
    if "steps" in results:
        _steps(results["steps"], directory / "steps.png")
        _shares(results["steps"], directory / "shares.png")
    if "steps" in results or "growth" in results:
        _scaling(results.get("steps", {}), results.get("growth", {}).get("ranks", {}), directory / "scaling.png")
    if "growth" in results:
        _growth(results["growth"], directory / "growth.png")


def _steps(steps: dict[str, Any], path: Path) -> None:
    """Plot a line for each network with a mark for each program: on 2 ranks relative to the limit, on 1 to nnmpi."""
    figure, panels = plt.subplots(2, 1, figsize=(9, 8.5), layout="constrained", height_ratios=[4, 5])
    ways = dict.fromkeys(name for network in steps.values() for name in network["seconds"])
    not_alone = {"limit": "limit", "nnmpi, 2 ranks": "nnmpi", "nnmpi launch, 2 ranks": "nnmpi launch"}
    not_alone |= {name: name for name in ("PyTorch DDP", "JAX, mpi4jax", "JAX scan, mpi4jax")}
    alone = {"nnmpi, 1 rank": "nnmpi", **{name: name for name in ways if name in COLOURS and name not in not_alone}}
    _against(panels[0], steps, {label: way for way, label in not_alone.items() if way in ways}, "limit")
    _against(panels[1], steps, {label: way for way, label in alone.items()}, "nnmpi")
    panels[0].set(title="2 ranks on 2 cores", xlabel="time of a step / limit")
    panels[1].set(title="one process on one core", xlabel="time of a step / that of nnmpi")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _against(axes: Axes, steps: dict[str, Any], ways: dict[str, str], base: str) -> None:
    """Plot times of a step relative to that of `base`, which is printed below the name of the network."""
    bases = [network["seconds"][ways[base]].get("median") for network in steps.values()]
    for label, way in ways.items():
        points = [(i, network["seconds"].get(way, {})) for i, network in enumerate(steps.values())]
        shown = [(i, times, bases[i]) for i, times in points if "median" in times and bases[i]]
        below = [(times["median"] - times["low"]) / unit for _, times, unit in shown]
        above = [(times["high"] - times["median"]) / unit for _, times, unit in shown]
        axes.errorbar(
            [times["median"] / unit for _, times, unit in shown],
            [i for i, _, _ in shown],
            xerr=[below, above],
            fmt=MARKERS.get(label, "o"),
            ms=26 if label == "limit" else 9,
            mew=2,
            elinewidth=1,
            color=COLOURS[label],
            label=label,
            zorder=3 if label == "nnmpi" else 2,
        )
    names = [
        f"{name}\n{base} {table.seconds(unit) if unit else 'failed'}" for name, unit in zip(steps, bases, strict=True)
    ]
    axes.set(xscale="log", yticks=range(len(steps)), ylim=(len(steps) - 0.4, -0.6))
    axes.set_yticklabels(names, linespacing=1.4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    low, high = axes.get_xlim()
    if high / low < 30:  # otherwise powers of ten suffice
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.grid(axis="x", alpha=0.3)
    axes.axvline(1, color="black", lw=1, ls=":", zorder=1)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, markerscale=0.7)


def _shares(steps: dict[str, Any], path: Path) -> None:
    """Plot a bar for each network, divided into the times of the parts measured alone, and the rest."""
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    fractions = {name: table.shares(network) for name, network in steps.items()}
    shown = {name: parts for name, parts in fractions.items() if parts}
    left = [0.0] * len(shown)
    for (part, label), colour in zip(PARTS.items(), PART_COLOURS, strict=True):
        widths = [max(0.0, parts[part]) for parts in shown.values()]
        axes.barh(range(len(shown)), widths, left=left, color=colour, label=label)
        for i, (start, width) in enumerate(zip(left, widths, strict=True)):
            if width >= 0.05:
                light = colour in PART_COLOURS[2:]
                text = f"{width:.0%}"
                axes.text(start + width / 2, i, text, ha="center", va="center", color="black" if light else "white")
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set(yticks=range(len(shown)), xlabel="part of the time of a step, 2 ranks", xlim=(0, max([1.0, *left])))
    axes.set_yticklabels(list(shown))
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _scaling(steps: dict[str, Any], ranks: dict[str, Any], path: Path) -> None:
    """Plot the efficiency from 1 to 2 ranks, and the time of a step over the number of ranks."""
    panels = [(_efficiency, steps), (_over_ranks, ranks)]
    measured = [(plot, results) for plot, results in panels if results]
    figure, axes = plt.subplots(
        1, len(measured), figsize=(5.5 * len(measured), 4.6), layout="constrained", squeeze=False
    )
    for panel, (plot, results) in zip(axes[0], measured, strict=True):
        plot(panel, results)
        panel.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2 if plot is _efficiency else 1, frameon=False
        )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _efficiency(axes: Axes, steps: dict[str, Any]) -> None:
    names = list(steps)
    contestants = list(dict.fromkeys(c for network in steps.values() for c in network["weak scaling"]))
    height = 0.8 / max(1, len(contestants))
    for k, contestant in enumerate(contestants):
        values = [steps[name]["weak scaling"].get(contestant, {}).get("median", 0.0) for name in names]
        places = [i + (k - (len(contestants) - 1) / 2) * height for i in range(len(names))]
        bars = axes.barh(places, values, height * 0.92, color=COLOURS[contestant], label=contestant)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # the number covers the line at 1
        axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=3, bbox=box)
    axes.axvline(1, color="black", lw=1, ls=":", zorder=0)
    axes.set(yticks=range(len(names)), xlim=(0, 1.25), xlabel="time of a step on 1 rank / on 2 ranks")
    axes.set_yticklabels(names)
    axes.invert_yaxis()
    axes.set_title("weak scaling, 1 to 2 ranks")


def _over_ranks(axes: Axes, ranks: dict[str, Any]) -> None:
    for (name, points), colour in zip(ranks.items(), (COLOURS["nnmpi"], COLOURS["JAX"]), strict=False):
        shown = [p for p in points if "median" in p["step"]]
        axes.plot([p["at"] for p in shown], [p["step"]["median"] for p in shown], "o-", color=colour, label=name)
        limits = [p for p in points if "median" in p["limit"]]
        axes.plot([p["at"] for p in limits], [p["limit"]["median"] for p in limits], "|--", color=colour, ms=12)
    axes.set(yscale="log", xlabel="ranks", title="over ranks (dashed: limit)")
    axes.set_xticks([p["at"] for p in next(iter(ranks.values()))])
    _time_axis(axes)
    axes.grid(alpha=0.3)


def _growth(growth: dict[str, Any], path: Path) -> None:
    """Plot the time of a step over the number of parameters and over the batch."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    titles = ("64-h-h-10, batch 64 a rank, 2 ranks", f"{growth['batch, network']}, 2 ranks")
    for axes, points, label, title in zip(
        panels, (growth["parameters"], growth["batch"]), ("parameters", "batch of a rank"), titles, strict=True
    ):
        for key, text, style, colour in (
            ("step", "nnmpi", "o-", COLOURS["nnmpi"]),
            ("limit", "limit", "|--", "black"),
            ("allreduce", "of it Allreduce", "x:", COLOURS["JAX"]),
            ("reduction", "nnmpi's reduction", "+:", COLOURS["nnmpi"]),
        ):
            shown = [p for p in points if "median" in p[key]]
            axes.plot([p["at"] for p in shown], [p[key]["median"] for p in shown], style, color=colour, label=text)
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.set_title(title, fontsize=12)
        axes.grid(alpha=0.3)
        _time_axis(axes)
    panels[0].set_ylabel("time of a step")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _time_axis(axes: Axes) -> None:
    """Label powers of ten as 10 µs, 1 ms, 100 ms."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _time(value)))


def _time(value: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 0.999:
            return f"{value * factor:g} {unit}"
    return f"{value * 1e6:g} µs"
