"""``--log``: write the metrics of each epoch for TensorBoard or MLflow, by default in the directory of the run."""

import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nnmpi.errors import InputError
from nnmpi.report.run_files import number

NEEDED = {"tensorboard": ("tensorboardX",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}  # modules of each extra


class TensorBoard:
    """Writes event files to ``tensorboard/`` in the directory of the run; ``tensorboard --logdir`` shows them."""

    def __init__(self, directory: Path, description: dict[str, Any]) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"))
        rows = [f"| {name} | `{str(value).replace('`', '')}` |" for name, value in description["settings"].items()]
        self._writer.add_text("settings", "\n".join(["| setting | value |", "| --- | --- |", *rows]))

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Write the metrics of an epoch. ``test_loss`` gets the tag ``loss/test``: TensorBoard groups by prefix."""
        for name, value in _numbers(metrics).items():
            part, _, metric = name.partition("_")
            tag = f"{metric}/{part}" if part in ("train", "validation", "test") else f"run/{name}"
            self._writer.add_scalar(tag, value, metrics["epoch"])
        self._writer.flush()

    def close(self, finished: bool) -> None:
        """Close the event files."""
        self._writer.close()


class Mlflow:
    """Writes a run to MLflow at ``MLFLOW_TRACKING_URI``, by default to ``mlflow.db`` in the directory of the run."""

    def __init__(self, directory: Path, description: dict[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # send no usage data unless the user allows it
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        directory = directory.absolute()
        address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{directory / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=address)
        experiment = self._client.get_experiment_by_name("nnmpi")
        if experiment:
            experiment_id = experiment.experiment_id
        else:
            local = address.startswith("sqlite:")
            artifacts = (directory / "mlflow-artifacts").as_uri() if local else None
            experiment_id = self._client.create_experiment("nnmpi", artifact_location=artifacts)
        self._run = self._client.create_run(experiment_id, run_name=directory.name).info.run_id
        for name, value in description["settings"].items():
            self._client.log_param(self._run, name, str(value)[:500])

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Write the metrics of an epoch."""
        for name, value in _numbers(metrics).items():
            self._client.log_metric(self._run, name, value, step=metrics["epoch"])

    def close(self, finished: bool) -> None:
        """Set the final status of the run."""
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


Logger = TensorBoard | Mlflow
LOGGERS: dict[str, Callable[[Path, dict[str, Any]], Logger]] = {"tensorboard": TensorBoard, "mlflow": Mlflow}


def check_loggers(names: tuple[str, ...]) -> None:
    """Check before training begins that the libraries of the chosen loggers are installed.

    Raises
    ------
    InputError
        If a library is missing.
    """
    for name in names:
        missing = [module for module in NEEDED[name] if find_spec(module) is None]
        if missing:
            raise InputError(f"--log {name} needs {' and '.join(missing)}: pip install 'nnmpi[{name}]'")


class Logs:
    """The loggers of a run. A logger that fails is dropped: a log never fails a training.

    Parameters
    ----------
    print_note
        Called with a message for the user when a logger fails.
    """

    def __init__(
        self, names: tuple[str, ...], directory: Path, description: dict[str, Any], print_note: Callable[[str], None]
    ) -> None:
        self._print_note, self._finished = print_note, False
        self._loggers: dict[str, Logger] = {}
        for name in names:
            self._try(name, partial(self._open, name, directory, description))

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Log the metrics of an epoch with all loggers."""
        for name, logger in list(self._loggers.items()):
            self._try(name, partial(logger.epoch, metrics))

    def finished(self) -> None:
        """Mark the run as finished."""
        self._finished = True

    def close(self) -> None:
        """Close all loggers."""
        for name, logger in list(self._loggers.items()):
            self._try(name, partial(logger.close, self._finished))

    def _open(self, name: str, directory: Path, description: dict[str, Any]) -> None:
        self._loggers[name] = LOGGERS[name](directory, description)

    def _try(self, name: str, call: Callable[[], None]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # warnings of the libraries
                call()
        except Exception as error:  # a library may raise anything
            self._loggers.pop(name, None)
            self._print_note(f"note: --log {name} failed and is now off ({type(error).__name__}: {error})")


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: number(v) for name, v in metrics.items() if name != "epoch" and number(v) == number(v)}
