"""The files that rank 0 writes into the directory of a run: log, model and checkpoints."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from nnmpi.errors import InputError
from nnmpi.files.checkpoint_writer import CheckpointWriter
from nnmpi.files.model import write_model
from nnmpi.files.run_directory import open_directory, remove_results
from nnmpi.files.run_log import RunLog
from nnmpi.files.write_error import write_error
from nnmpi.setting import parse_interval
from nnmpi.training.events import CheckpointDue, EpochDone, Event, Finished
from nnmpi.training.session import Session


class Output:
    """Writes the events of `session` to files in `directory`. Only rank 0 has an output.

    Parameters
    ----------
    resumed
        Whether the run continues from a checkpoint or from the state of survivors.
    history
        The metrics of the epochs that this rank has already trained.
    run_id
        The id in the lock of the directory, which survivors may take over; None makes a new one.

    Raises
    ------
    InputError
        If the directory cannot be written, is in use, or holds another run.
    RunError
        From the methods, if the directory can no longer be written.
    """

    def __init__(
        self,
        session: Session,
        directory: Path,
        resumed: bool,
        history: list[dict[str, Any]],
        run_id: str | None = None,
    ) -> None:
        self._session, self.directory = session, directory
        config, progress = session.config, session.progress
        checkpoints = directory / "checkpoints"
        keep = config.resume or resumed
        self.checkpoints: CheckpointWriter | None = None
        stop = partial(setattr, session.requests, "stop", True)
        self._every, self._unit = parse_interval(config.checkpoint_every)
        self._timer: threading.Timer | None = None
        with ExitStack() as opened:  # whatever fails, what is open so far is closed
            self._lock = open_directory(directory, run_id, keep, config.overwrite)
            opened.callback(self._lock.release)
            try:
                if not keep:
                    remove_results(directory)
                checkpoints.mkdir(exist_ok=True)
                self.log = RunLog(directory, session.description, progress.epoch, history)
                opened.callback(self.log.close)
                if self._unit != "never":
                    resumed_at = progress.update if resumed else None
                    self.checkpoints = CheckpointWriter(checkpoints, config.keep, resumed_at, stop)
                    opened.callback(self.checkpoints.close)
            except OSError as error:
                message = f"--output {directory}: cannot be written ({error.strerror}); choose another"
                raise InputError(message) from None
            opened.callback(self._cancel_timer)
            self._start_timer()
            if not resumed:
                self.model()
            self._opened = opened.pop_all()

    def write(self, event: Event) -> None:
        """Write the files that belong to an event."""
        match event:
            case EpochDone(metrics, is_best):
                with self._writing():
                    self.log.epoch(metrics)
                if is_best:
                    self.model()
            case CheckpointDue(_, finished):
                self._session.requests.checkpoint = False
                if self.checkpoints:
                    with self._writing():
                        self.checkpoints.save(self._session.checkpoint(finished))
                    self._start_timer()
            case Finished(_, all_scores):
                self.flush()
                self.model(sync=True)
                with self._writing():
                    self.log.finished(all_scores)

    def model(self, sync: bool = False) -> None:
        """Write ``model.safetensors``; with `sync` wait until it is on the disk."""
        with self._writing():
            write_model(self.directory / "model.safetensors", self._session.model(), sync)

    def flush(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises
        ------
        RunError
            If a checkpoint could not be written, or the directory is no longer this run's.
        """
        if self.checkpoints:
            with self._writing():
                self.checkpoints.flush()

    def close(self) -> None:
        """Close the files, end the thread that writes checkpoints, and release the lock, even if one of these fails.

        Raises
        ------
        RunError
            If the last lines of the log could not be written.
        """
        with self._errors():
            self._opened.close()

    def _start_timer(self) -> None:
        """Start the timer that requests the next checkpoint, if ``--checkpoint-every`` is given in minutes."""
        self._cancel_timer()
        if self._unit == "minutes":
            requests = self._session.requests
            self._timer = threading.Timer(60 * self._every, setattr, (requests, "checkpoint", True))
            self._timer.daemon = True
            self._timer.start()

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._errors():
            self._lock.check()
            yield

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(self.directory, error, f"{self.directory} can no longer be written") from None
