"""What rank 0 writes: the directory of a run, with its log, its model and its checkpoints."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnmpi.config import Config, directory_of, parse_interval
from nnmpi.errors import InputError, RunError
from nnmpi.files import checkpoint
from nnmpi.files.checkpoint import Checkpoint, Progress
from nnmpi.files.checkpoint_writer import CheckpointWriter
from nnmpi.files.model import Model, Recipe, write_model
from nnmpi.files.run_log import RunLog
from nnmpi.mpi.launcher import shows_terminal
from nnmpi.mpi.world import World
from nnmpi.nn.blas import Array
from nnmpi.training.task import Task, suggested_shards


class Output:
    """The files of a run and what it shows; only rank 0 has one.

    Raises
    ------
    InputError
        If the directory cannot be written, or holds the checkpoints of another run that was not finished.
    RunError
        From its methods, if the directory can no longer be written.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        world: World,
        about: dict[str, Any],
        resumed: Checkpoint | None,
        epochs: list[dict[str, Any]],
    ) -> None:
        self._config, self._task = config, task
        self._directory = directory_of(config)
        checkpoints = self._directory / "checkpoints"
        if checkpoints.is_symlink():
            raise InputError(
                f"{checkpoints} is a link, to {checkpoints.readlink()}: a run writes into its own directory only; "
                "remove the link, or choose another --output"
            )
        try:
            if not (config.resume or resumed) and checkpoints.is_dir():
                _make_way(checkpoints)
            for name in ("config.json", "metrics.jsonl", "model.safetensors"):
                if (self._directory / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, f"{name} is a directory")
            checkpoints.mkdir(parents=True, exist_ok=True)
            progress = resumed.progress if resumed else Progress()
            steps = task.layout.steps
            self.log = RunLog(self._directory, about, steps, config.epochs, progress.epoch, epochs, shows_terminal())
        except OSError as error:
            raise InputError(
                f"--output {self._directory}: cannot be written ({error.strerror}); choose another"
            ) from None
        better = suggested_shards(task.layout.shards, world.size)
        if better and not resumed:
            _say(
                f"note: {task.layout.shards} shards on {world.size} ranks leave some ranks waiting for others; "
                f"--shards {better} would fit"
            )
        self.checkpoints: CheckpointWriter | None = None
        if parse_interval(config.checkpoint_every)[1] != "never":
            self.checkpoints = CheckpointWriter(checkpoints, config.keep, progress.update if resumed else None)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"{self._directory} can no longer be written ({error.strerror})") from None

    def model(self, parameters: Array, final: bool = False) -> None:
        """Write ``model.safetensors``."""
        config, task = self._config, self._task
        recipe = Recipe(config.data, config.test_fraction, config.seed, config.stratify, task.data_digest)
        model = Model(task.architecture, parameters, task.scaler, task.target_scaler, task.targets, recipe)
        with self._writing():
            write_model(self._directory / "model.safetensors", model, final)

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Log an epoch."""
        with self._writing():
            self.log.epoch(metrics)

    def flush(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises
        ------
        RunError
            If one could not be written.
        """
        if self.checkpoints:
            self.checkpoints.flush()

    def finish(self, parameters: Array) -> None:
        """Write the final model, after the last checkpoint, and that the run is finished.

        Raises
        ------
        RunError
            If one of them cannot be written.
        """
        self.flush()
        self.model(parameters, True)
        with self._writing():
            self.log.finished()

    def close(self) -> None:
        """End the progress bar, the files, and the writing of checkpoints."""
        self.log.close()
        if self.checkpoints:
            self.checkpoints.close()


def _make_way(directory: Path) -> None:
    """Remove the checkpoints of a finished run; those of an unfinished one are somebody's work."""
    found, damaged = checkpoint.newest(directory)
    if damaged or (found and found.about.get("finished") is not True):
        raise InputError(
            f"{directory} holds the checkpoints of a run that was not finished: add --resume to go on with it, "
            "choose another --output, or remove them"
        )
    checkpoint.remove_all(directory)


def _say(text: str) -> None:
    print(f"nnmpi: {text}", file=sys.stderr, flush=True)
