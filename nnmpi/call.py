"""``nnmpi.train``: training from Python."""

import difflib
import json
import os
import warnings
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from nnmpi.config import Config
from nnmpi.data.sources import NO_COLUMNS, Columns, Request, Source
from nnmpi.data.sources.arrays import arrays
from nnmpi.data.sources.frames import frame_source, is_frame
from nnmpi.errors import InputError
from nnmpi.mpi.checks import check_same, training_threads
from nnmpi.mpi.open_world import open_world
from nnmpi.mpi.world import World
from nnmpi.report.loggers import Logs
from nnmpi.report.recording import Recording
from nnmpi.report.write import check_extras, write_report
from nnmpi.setting import flag_of, flag_value, naming_keywords
from nnmpi.trained import TrainedNetwork
from nnmpi.training.evaluation import Scores
from nnmpi.training.events import CheckpointDue, EpochDone, Finished
from nnmpi.training.loop import train as train_session
from nnmpi.training.output import Output
from nnmpi.training.place import agree_on_place
from nnmpi.training.resume import find_checkpoint
from nnmpi.training.run_description import changed_bits
from nnmpi.training.session import Session

SETTINGS = {field.name: field.default for field in fields(Config)}  # the default of each
IN_MEMORY = "arrays"  # the name in place of --data if the samples are arrays or a frame
# what only the command does, and what to use instead
COMMAND_ONLY = {
    "stall_timeout": "only the command nnmpi train ends a job in which a rank hangs",
    "dry_run": "use the command nnmpi train --dry-run",
    "config": "give the settings in the file as keywords",
    "progress": "use verbose=True for a line for each epoch",
    "quiet": "nothing is printed without verbose=True",
    "json": "use the metrics of the result, or metrics.jsonl in the directory output",
}
OF_OUTPUT = ("resume", "overwrite", "checkpoint_every", "keep", "report", "log")  # they need a directory


@dataclass(frozen=True)
class Result:
    """The result of a training; the same on all ranks, except for the measured times.

    Attributes
    ----------
    metrics : list of dict
        The metrics of each epoch, with the keys of ``metrics.jsonl``, also of those before a resume.
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
    that no launcher started trains alone, without MPI. With ``resume=True`` a run in `output` continues from its newest
    valid checkpoint, as with the command.

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
        Print notes and a line for each epoch, on rank 0.
    **settings
        The flags of ``nnmpi train`` with underscores: ``hidden=(128, 64)``, ``epochs=20``, ``learning_rate=0.01``, …
        Only the command has ``stall_timeout``.

    Returns
    -------
    Result
        ``metrics`` of each epoch, ``scores`` on the test part, and the ``model``.

    Raises
    ------
    InputError
        If a setting or the data cannot be used; the message names the keyword.
    RunError
        If the loss becomes NaN or infinite, or `output` can no longer be written.
    TypeError
        If a setting is unknown, or `y` is missing; on several ranks it is a RunError.
    """
    with naming_keywords(SETTINGS), open_world(comm) as world:
        with world.together():
            config, source = _settings_and_source(data, y, sample_weight, output, settings)
        check_same(world, {"settings": json.dumps(config.as_json()).encode()})
        threads = training_threads(world, config.deterministic, config.threads)
        recording = Recording(config, world)
        recording.begin()
        quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # the loss is checked in each step
        with threadpool_limits(threads, user_api="blas"), quiet, recording, ExitStack() as stack:
            session, files, logs, metrics = _begin(config, world, source, verbose, stack)
            recording.attach(session, files)
            for event in train_session(session):
                with nullcontext() if config.output is None else world.together():
                    if files:
                        files.write(event)
                    if files and isinstance(event, CheckpointDue) and event.stopping:
                        files.flush()  # raises the error for which the files ask for a stop
                    if logs and isinstance(event, EpochDone):
                        logs.epoch(event.metrics)
                    elif logs and isinstance(event, Finished):
                        logs.finished()
                if isinstance(event, EpochDone):
                    metrics.append(event.metrics)
                    if verbose and world.rank == 0:
                        print(_line(event.metrics), flush=True)
                elif isinstance(event, Finished):
                    finished = event
            with world.together():
                stack.close()
                if files and config.report:
                    _report(files)
        return Result(metrics, finished.scores, finished.all_scores, TrainedNetwork(session.model()))


def _settings_and_source(
    data: Any, y: Any, sample_weight: Any, output: str | os.PathLike[str] | None, settings: dict[str, Any]
) -> tuple[Config, Source | None]:
    """Return the settings, and the source of samples in memory; None if `data` is a name or path."""
    in_memory = not isinstance(data, str | os.PathLike)
    weights = None
    if sample_weight is None or isinstance(sample_weight, str):
        settings = {**settings, "sample_weight": sample_weight}
    elif in_memory:
        weights = sample_weight
    else:
        raise TypeError("train(path, sample_weight=…): name the column or array with the weights")
    if y is not None and not in_memory:
        raise TypeError("train(path, y): y is for an array or a frame; name the column with the targets: target=…")
    config = _config(IN_MEMORY if in_memory else os.fspath(data), output, settings)
    columns = Columns(config.target, config.drop, config.categories, config.sample_weight)
    if is_frame(data):
        return config, frame_source(data, Request(IN_MEMORY, columns=columns), y, weights)
    if not in_memory:
        return config, None
    if y is None:
        raise TypeError("train(X, y): the targets y are missing")
    if columns != NO_COLUMNS:
        raise InputError("--target, --drop, --categories and --sample-weight name columns, which only frames have")
    return config, arrays(data, y, IN_MEMORY, weights)


def _config(data: str, output: str | os.PathLike[str] | None, settings: dict[str, Any]) -> Config:
    """Return the settings as a `Config`. Those that would have no effect are refused."""
    for name in settings:
        if name not in SETTINGS:
            if name in COMMAND_ONLY:
                raise TypeError(f"train() has no setting {name!r}: {COMMAND_ONLY[name]}")
            near = difflib.get_close_matches(name, SETTINGS, 1)
            raise TypeError(f"train() has no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    config = Config(data=data, output=output, **settings)  # type: ignore[arg-type]  # it converts paths
    for name, value in vars(config).items():
        if value == SETTINGS[name]:
            continue
        if name in COMMAND_ONLY:
            raise InputError(f"{flag_of(name)} {flag_value(value)} has no effect from Python: {COMMAND_ONLY[name]}")
        if name in OF_OUTPUT and output is None and value != "never":
            raise InputError(f"{flag_of(name)} {flag_value(value)} has no effect without a directory: add output=DIR")
    return config


def _begin(
    config: Config, world: World, source: Source | None, verbose: bool, stack: ExitStack
) -> tuple[Session, Output | None, Logs | None, list[dict[str, Any]]]:
    """Return the session, the files and logs of rank 0 if there are any, and the metrics of the epochs before a resume.

    All ranks take part. `stack` closes files and logs.
    """
    if config.output is None:
        return Session(config, world, source), None, None, []
    check_extras(config, world)
    place = agree_on_place(config, world, None)
    resumed, notes = find_checkpoint(config, place.directory, world) if config.resume else (None, [])
    session = Session(config, world, source, resumed)
    session.writes_model = True
    files, logs, earlier = None, None, b"[]"
    with world.together():
        if world.rank == 0:
            files = Output(session, place.directory, bool(resumed), [], place.run_id)
            stack.callback(files.close)
            earlier = json.dumps(files.log.earlier).encode()
            if config.log:
                logs = Logs(config.log, place.directory, session.description, warnings.warn)
                stack.callback(logs.close)
    if resumed and config.deterministic:
        notes.append(changed_bits(resumed.metadata["bits"], session.description["bits"]))
    for note in filter(None, notes):
        if verbose and world.rank == 0:
            print(note, flush=True)
    return session, files, logs, json.loads(world.broadcast_bytes(earlier if world.rank == 0 else None))


def _report(files: Output) -> None:
    """Write the report of the finished run. A failure is only a warning: the results are complete without it."""
    try:
        write_report([files.directory])
    except Exception as error:  # any error of a library
        warnings.warn(f"no report was written ({type(error).__name__}: {error})", stacklevel=3)


def _line(metrics: dict[str, Any]) -> str:
    scores = ", ".join(f"{name.replace('_', ' ')} {metrics[name]:.4f}" for name in metrics if "_loss" in name)
    return f"epoch {metrics['epoch']}: {scores}"
