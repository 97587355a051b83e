"""``nnmpi.train``: training from Python."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from nnmpi.config import Config
from nnmpi.data.sources import Columns, Request
from nnmpi.data.sources.arrays import arrays
from nnmpi.data.sources.frames import frame_source, is_frame
from nnmpi.mpi.checks import training_threads
from nnmpi.mpi.open_world import open_world
from nnmpi.trained import TrainedNetwork
from nnmpi.training.evaluation import Scores
from nnmpi.training.events import EpochDone, Finished
from nnmpi.training.loop import train as train_session
from nnmpi.training.output import Output
from nnmpi.training.session import Session

IN_MEMORY = "arrays"  # the name in place of --data if the samples are arrays or a frame


@dataclass(frozen=True)
class Result:
    """The result of a training; the same on all ranks.

    Attributes
    ----------
    metrics : list of dict
        The metrics of each epoch, with the keys of ``metrics.jsonl``.
    scores : Scores
        The loss, and accuracy or R², of the final network on the test part.
    all_scores : dict
        All metrics of the parts ``"test"`` and, if there is one, ``"validation"``; None where undefined.
    model : TrainedNetwork
        The final network.
    """

    metrics: list[dict[str, Any]]
    scores: Scores
    all_scores: dict[str, dict[str, Any]]
    model: TrainedNetwork


def train(
    data: str | os.PathLike[str] | npt.ArrayLike = "digits",
    y: npt.ArrayLike | None = None,
    *,
    sample_weight: npt.ArrayLike | str | None = None,
    comm: Any = None,
    output: str | os.PathLike[str] | None = None,
    verbose: bool = False,
    **settings: Any,
) -> Result:
    """Train a network on all ranks of a communicator. Every rank calls this with the same arguments.

    The function prints only if `verbose`, and writes files only if there is an `output`. It leaves the settings of the
    process as they were, and can be called any number of times. Under ``mpirun`` all ranks of the job train. A process
    that no launcher started trains alone, without MPI.

    Parameters
    ----------
    data : str, path, frame, or array-like of shape (n, features) or (n, height, width)
        A name or path as for ``--data``, or the samples themselves. A pandas or Polars frame is a table, like a CSV
        file.
    y : array-like of shape (n,) or (n, outputs), optional
        The targets, if the samples are an array, or a frame without the targets.
    sample_weight : array-like of shape (n,), or str, optional
        The weight of each sample if the samples are an array or a frame, or a name as for ``--sample-weight``.
    comm : mpi4py.MPI.Comm, optional
        The ranks that train. Default: all ranks of the job.
    output : str or path, optional
        The directory for ``config.json``, ``metrics.jsonl``, ``model.safetensors`` and checkpoints.
    verbose : bool
        Print a line for each epoch, on rank 0.
    **settings
        The flags of ``nnmpi train`` with underscores: ``hidden=(128, 64)``, ``epochs=20``, ``learning_rate=0.01``, …

    Returns
    -------
    Result
        ``metrics`` of each epoch, ``scores`` on the test part, and the ``model``.

    Raises
    ------
    InputError
        If a setting or the data cannot be used; the message names the flag.
    RunError
        If the loss becomes NaN or infinite.
    TypeError
        If a setting is unknown, or `y` is missing.
    """
    source = None
    in_memory = not isinstance(data, str | os.PathLike)
    weights = None
    if sample_weight is None or isinstance(sample_weight, str):
        settings["sample_weight"] = sample_weight
    elif in_memory:
        weights = sample_weight
    else:
        raise TypeError("train(path, sample_weight=…): name the column or array with the weights")
    config = _config(IN_MEMORY if in_memory else os.fspath(data), output, settings)  # type: ignore[arg-type]
    if is_frame(data):
        columns = Columns(config.target, config.drop, config.categories, config.sample_weight)
        source = frame_source(data, Request(IN_MEMORY, columns=columns), y, weights)
    elif in_memory:
        if y is None:
            raise TypeError("train(X, y): the targets y are missing")
        source = arrays(data, y, IN_MEMORY, weights)  # type: ignore[arg-type]
    with open_world(comm) as world:
        threads = training_threads(world, config.deterministic, config.threads)
        metrics: list[dict[str, Any]] = []
        with threadpool_limits(threads, user_api="blas"), _quiet():
            session = Session(config, world, source)
            session.writes_model = output is not None
            with _output(session, output) as files:
                for event in train_session(session):
                    if files:
                        files.take(event)
                    if isinstance(event, EpochDone):
                        metrics.append(event.metrics)
                        if verbose and world.rank == 0:
                            print(_line(event.metrics), flush=True)
                    elif isinstance(event, Finished):
                        finished = event
        return Result(metrics, finished.scores, finished.all_scores, TrainedNetwork(session.model()))


def _config(data: str, output: str | os.PathLike[str] | None, settings: dict[str, Any]) -> Config:
    """Return the settings as a `Config`. Text is parsed as on the command line; lists become tuples."""
    known = {field.name: field for field in fields(Config) if field.name not in ("data", "output")}
    for name, value in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise TypeError(f"train() has no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        parse = known[name].metadata["parse"]
        if isinstance(value, str) and parse:
            settings[name] = parse(value)
        elif isinstance(value, list):
            settings[name] = tuple(value)
    return Config(data=data, output=None if output is None else os.fspath(output), **settings)


@contextmanager
def _output(session: Session, directory: str | os.PathLike[str] | None) -> Iterator[Output | None]:
    """Yield the `Output` that writes the files on rank 0; None on other ranks, and without a directory."""
    files: Output | None = None
    if directory is not None:
        with session.world.together():
            if session.world.rank == 0:
                files = Output(session, Path(directory), False, [])
    try:
        yield files
    finally:
        if files:
            files.close()


def _quiet() -> np.errstate:
    """Return a context without NumPy's floating-point warnings: the loss is checked in each step."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def _line(metrics: dict[str, Any]) -> str:
    scores = ", ".join(f"{name.replace('_', ' ')} {metrics[name]:.4f}" for name in metrics if "_loss" in name)
    return f"epoch {metrics['epoch']}: {scores}"
