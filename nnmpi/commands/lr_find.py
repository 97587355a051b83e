"""``lr-find``: a sweep of the learning rate over one pass of the training set (Smith 2017), on all ranks."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnmpi.commands.trial import open_session, steps
from nnmpi.config import Config
from nnmpi.errors import InputError, RunError
from nnmpi.files.atomic import check_writable, whole_file
from nnmpi.mpi.world import World
from nnmpi.training.session import Session

FEWEST = 20  # steps of a sweep
WIDTH = 15  # that part of a sweep is the width of a mean
DIVERGED = 4.0  # times the first loss: the end of the sweep
ROWS = 12  # of the table


def lr_find(config: Config, world: World, lowest: float, highest: float, picture: Path | None) -> None:
    """Raise the learning rate from `lowest` to `highest`; rank 0 prints the losses and the rate it suggests.

    Raises
    ------
    InputError
        On all ranks, if the settings do not go with the data, there are too few steps, or the picture cannot be made.
    """
    with world.together():
        if picture and world.rank == 0:
            _check(picture)
    session = open_session(replace(config, epochs=1, verify_replicas=False, warmup_epochs=0.0), world)
    count = session.layout.steps
    if count < FEWEST:
        raise InputError(
            f"a pass over the data has {count} steps of {session.layout.batch_size} samples, lr-find needs {FEWEST}: "
            "lower --batch-size",
            shared=True,
        )
    rates = np.geomspace(lowest, highest, count)
    session.learning_rate = lambda k: float(rates[k])  # type: ignore[assignment]
    losses = _sweep(session, steps(session))
    suggestion = suggested(rates[: len(losses)], losses)
    if world.rank == 0:
        print("learning rate    loss")
        for i in np.unique(np.linspace(0, len(losses) - 1, ROWS).astype(int) if losses else []):
            print(f"{rates[i]:13.3g}    {losses[i]:.4f}")
        if picture:
            _draw(picture, rates[: len(losses)], losses, suggestion)
            print(f"picture in {picture}")
        if suggestion is None:
            print("no learning rate lowers the loss: try other values of --lowest and --highest", flush=True)
        else:
            print(f"suggestion: --learning-rate {suggestion:.2g}", flush=True)


def _sweep(session: Session, step_seconds: Iterator[float]) -> list[float]:
    """The training loss of each step until it diverges, smoothed; alike on all ranks."""
    progress = session.progress
    losses: list[float] = []
    before = weight_before = 0.0
    with contextlib.suppress(RunError):  # the loss became infinite, on all ranks
        for _ in itertools.islice(step_seconds, session.layout.steps):
            weight = progress.weight_sum - weight_before
            # a batch may have no weight
            losses.append((progress.loss_sum - before) / weight if weight else (losses or [0.0])[-1])
            before, weight_before = progress.loss_sum, progress.weight_sum
            if losses[-1] > DIVERGED * losses[0]:
                break
    return smoothed(losses, session.layout.steps // WIDTH)


def smoothed(losses: list[float], width: int) -> list[float]:
    """The mean of each loss and its neighbours, as many on both sides, which moves no minimum."""
    if not losses:
        return []
    half = max(1, width // 2)
    padded = np.pad(np.asarray(losses), half, mode="edge")
    return list(np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid").tolist())


def suggested(rates: npt.NDArray[np.float64], losses: list[float]) -> float | None:
    """A tenth of the learning rate at which the loss is lowest, before it diverges; None if it never falls."""
    lowest = int(np.argmin(losses)) if losses else 0
    return float(rates[lowest] / 10) if lowest > 1 else None


def _check(picture: Path) -> None:
    if picture.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"--picture {picture}: allowed are files that end in .svg, .png or .pdf")
    if find_spec("matplotlib") is None:
        raise InputError("--picture needs Matplotlib: pip install 'nnmpi[plots]'")
    try:
        check_writable(picture)
    except OSError as error:
        raise InputError(f"--picture {picture}: cannot be written ({error.strerror})") from None


def _draw(picture: Path, rates: npt.NDArray[np.float64], losses: list[float], suggestion: float | None) -> None:
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
