"""The command ``lr-find``: sweep the learning rate in one pass over the training set (Smith 2017), on all ranks."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nnmpi.arrays import Floats
from nnmpi.commands.trial import open_session, steps
from nnmpi.config import Config
from nnmpi.errors import InputError, RunError
from nnmpi.files.atomic import whole_file
from nnmpi.files.output_file import check_file
from nnmpi.mpi.world import World
from nnmpi.text import counted, printable
from nnmpi.training.session import Session

MIN_STEPS = 20  # steps of a sweep
SMOOTHING = 15  # losses are averaged over 1/15 of the sweep
DIVERGED = 4.0  # the sweep ends when the loss is this multiple of the first one
ROWS = 12  # rows of the printed table


def lr_find(config: Config, world: World, lowest: float, highest: float, picture: Path | None) -> None:
    """Train while the learning rate grows from `lowest` to `highest`; rank 0 prints losses and a suggested rate.

    Raises
    ------
    InputError
        On all ranks, if the settings do not fit the data, there are too few steps, or the picture cannot be written.
    """
    with world.together():
        if picture and world.rank == 0:
            _check(picture)
    session = open_session(replace(config, epochs=1, verify_replicas=False, warmup_epochs=0.0), world)
    count = session.layout.steps
    if count < MIN_STEPS:
        samples = session.layout.samples
        largest = (samples - 1) // (MIN_STEPS - 1)  # the last batch may be smaller
        remedy = f"lower --batch-size to {largest} or less" if samples >= MIN_STEPS else "give more samples"
        raise InputError(
            f"one pass over the {counted(samples, 'training sample')} has {counted(count, 'step')} of --batch-size "
            f"{session.layout.batch_size}, but lr-find needs at least {MIN_STEPS} steps: {remedy}",
            shared=True,
        )
    rates = np.geomspace(lowest, highest, count)
    session.learning_rate = lambda k: float(rates[k])  # type: ignore[assignment]
    losses = _sweep(session, steps(session))
    suggestion = suggested(rates[: len(losses)], losses)
    with world.together():
        if picture and world.rank == 0:
            _draw(picture, rates[: len(losses)], losses, suggestion)
    if world.rank == 0:
        print("learning rate    loss")
        for i in np.unique(np.linspace(0, len(losses) - 1, ROWS).astype(int) if losses else []):
            print(f"{rates[i]:13.3g}    {losses[i]:.4f}")
        if picture:
            print(f"picture written to {printable(str(picture))}")
        if suggestion is None:
            print("no learning rate lowered the loss: try other values of --lowest and --highest", flush=True)
        else:
            print(f"suggestion: --learning-rate {suggestion:.2g}", flush=True)


def _sweep(session: Session, step_seconds: Iterator[float]) -> list[float]:
    """Return the smoothed training loss of each step until it diverges; the same on all ranks."""
    progress = session.progress
    losses: list[float] = []
    loss = loss_before = weight_before = 0.0
    with contextlib.suppress(RunError):  # the loss became infinite, on all ranks
        for _ in itertools.islice(step_seconds, session.layout.steps):
            weight = progress.weight_sum - weight_before
            if weight:  # those of a batch may add up to 0: then the loss stays that of the batch before
                loss = (progress.loss_sum - loss_before) / weight
                if not weight_before:
                    losses = [loss] * len(losses)
            losses.append(loss)
            loss_before, weight_before = progress.loss_sum, progress.weight_sum
            if losses[-1] > DIVERGED * losses[0]:
                break
    return smoothed(losses, session.layout.steps // SMOOTHING)


def smoothed(losses: list[float], width: int) -> list[float]:
    """Return the mean of each loss and its neighbours; the window is centered, so that no minimum moves."""
    if not losses:
        return []
    half = max(1, width // 2)
    padded = np.pad(np.asarray(losses), half, mode="edge")
    return list(np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid").tolist())


def suggested(rates: Floats, losses: list[float]) -> float | None:
    """Return a tenth of the learning rate with the lowest loss, or None if the loss never falls."""
    lowest = int(np.argmin(losses)) if losses else 0
    return float(rates[lowest] / 10) if lowest > 1 else None


def _check(picture: Path) -> None:
    if picture.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"--picture {picture}: allowed are files that end in .svg, .png or .pdf")
    if find_spec("matplotlib") is None:
        raise InputError("--picture needs Matplotlib: pip install 'nnmpi[plots]'")
    check_file(picture, f"--picture {picture}")


def _draw(picture: Path, rates: Floats, losses: list[float], suggestion: float | None) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    if suggestion:
        axes.axvline(suggestion, linestyle="--", label=f"suggestion {suggestion:.2g}")
        axes.legend()
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed")
    with whole_file(picture) as file:
        figure.savefig(file, format=picture.suffix[1:])
