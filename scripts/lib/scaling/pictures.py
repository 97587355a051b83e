"""Plots: measured over predicted time of a step, and predictions for more ranks."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from model import Model, Setting, compute_of, steps_to_accuracy

RANKS = np.unique(np.round(np.geomspace(1, 10_000, 60)).astype(int))
RATES = (1, 10, 100, 200)  # Gbit/s
DELAYS = (1e-6, 10e-6, 50e-6)
EACH = 16  # ranks on each host of the predicted clusters
COLOURS = ("#d1495b", "#edae49", "#2e5eaa", "#0b6e4f")
STYLES = ("-", "--", ":")


def check(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot measured over predicted times; hollow marks are settings of the fit."""
    figure, axes = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
    for fitted, label, face in ((True, "fitted to", "none"), (False, "not fitted to", "#0b6e4f")):
        points = [(row["predicted"] * 1e3, row["seconds"] * 1e3) for row in rows if row["fit"] is fitted]
        axes.scatter(*zip(*points, strict=True), facecolors=face, edgecolors="#0b6e4f", s=60, label=label, zorder=3)
    times = [row[name] * 1e3 for row in rows for name in ("predicted", "seconds")]
    ends = np.array([min(times) * 0.8, max(times) * 1.25])
    axes.plot(ends, ends, color="black", lw=1)
    axes.fill_between(ends, ends * 0.85, ends * 1.15, color="#c9c9c9", alpha=0.5, label="within 15 %")
    axes.set(xscale="log", yscale="log", xlabel="predicted, ms a step", ylabel="measured, ms a step")
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def on_cluster(ranks: int, parameters: int, compute: float, gbit: float, delay: float) -> Setting:
    """Return the setting of `ranks` on a cluster; each rank has a core."""
    each = min(EACH, ranks)
    return Setting(-(-ranks // each), each, parameters, compute, gbit * 1e9, delay)


def predictions(model: Model, results: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """Plot weak and strong scaling and the time to an accuracy; return the useful numbers of ranks for each link."""
    figure, panels = plt.subplots(1, 3, figsize=(15, 5), layout="constrained")
    network, times = next(iter(results["alone"].items()))
    parameters = results["parameters"][network]
    samples, seconds = (np.array(v, float) for v in (list(map(int, times)), list(times.values())))
    whole = 65_536  # global batch for strong scaling
    fewest, critical = results["critical"]["fewest"], results["critical"]["batch"]
    limits = []
    for colour, gbit in zip(COLOURS, RATES, strict=True):
        for style, delay in zip(STYLES, DELAYS, strict=True):
            step = lambda n, b, gbit=gbit, delay=delay: model.step(  # noqa: E731
                on_cluster(n, parameters, compute_of(b, samples, seconds), gbit, delay)
            )
            weak = np.array([step(1, 128) / step(n, 128) for n in RANKS])
            strong = np.array([step(1, whole) / step(n, whole / n) / n for n in RANKS])
            reach = np.array([steps_to_accuracy(32 * n, fewest, critical) * step(n, 32) for n in RANKS])
            drawn = {"color": colour, "ls": style, "label": f"{gbit} Gbit/s" if delay == DELAYS[0] else None}
            for axes, values in zip(panels, (weak, strong, reach / reach[0]), strict=True):
                axes.plot(RANKS, values, **drawn)
            limits.append(
                {
                    "gbit": gbit,
                    "delay": delay,
                    "weak": _last(weak >= 0.5),
                    "strong": _last(strong >= 0.5),
                    "accuracy": int(RANKS[reach.argmin()]),
                    "faster": float(reach[0] / reach.min()),
                }
            )
    panels[0].set(title=f"weak scaling: 128 samples a rank\n{network}", ylabel="efficiency", ylim=(0, 1.05))
    panels[1].set(title=f"strong scaling: {whole} samples a step", ylabel="efficiency", ylim=(0, 1.05))
    panels[2].set(title="time to an accuracy, 32 samples a rank", ylabel="of the time of one rank", yscale="log")
    for axes in panels:
        axes.set(xscale="log", xlabel=f"ranks, {EACH} a host (predicted)")
        axes.grid(alpha=0.3)
    panels[0].legend(title="— 1 µs, -- 10 µs, ··· 50 µs", loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return limits


def _last(true: "np.ndarray[Any, Any]") -> int:
    """Return the largest number of ranks up to which `true` holds."""
    false = np.flatnonzero(~true)
    return int(RANKS[-1] if not len(false) else RANKS[max(0, false[0] - 1)])
