"""The thread that brings checkpoints to the disk."""

import threading
from collections.abc import Callable
from pathlib import Path

from nnmpi.errors import RunError
from nnmpi.files.atomic import remove_file
from nnmpi.files.checkpoint import Checkpoint, Unfinished


class CheckpointWriter:
    """Writes checkpoints, and brings them to the disk in a thread of its own, so that training goes on meanwhile.

    If checkpoints come faster than the disk takes them, the newest waits and those before it are dropped. `failed` is
    called once if one cannot be written.
    """

    def __init__(
        self, directory: Path, keep: int, resumed_at: int | None, failed: Callable[[], None] = lambda: None
    ) -> None:
        self._directory, self._keep = directory, keep
        # damaged files may be newer than what the run resumed from: they are neither counted nor removed
        self._written = [] if resumed_at is None else [u for u in map(int, self._found()) if u <= resumed_at]
        for unfinished in directory.glob(".*.new"):
            remove_file(unfinished)
        self._wake = threading.Condition()
        self._waiting: Unfinished | None = None
        self._under_way: Unfinished | None = None
        self._closing = False
        self.error: Exception | None = None
        self._failed = failed
        self._thread = threading.Thread(target=self._work, name="checkpoints")
        self._thread.start()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; its arrays may change when this returns, its place on the disk comes later."""
        update = checkpoint.progress.update
        with self._wake:  # two of one update would be one file
            self._wake.wait_for(lambda: update not in [c.update for c in (self._under_way, self._waiting) if c])
        if self.error:  # the run is about to end; do not make it worse
            return
        try:
            written = Unfinished(self._directory, checkpoint)
            with self._wake:
                older, self._waiting = self._waiting, written
                self._wake.notify_all()
            if older:
                older.drop()
        except OSError as error:
            self._fail(error)

    def flush(self) -> None:
        """Wait until all that was handed over is on the disk.

        Raises
        ------
        RunError
            If a checkpoint could not be written.
        Exception
            Whatever else went wrong in the thread.
        """
        with self._wake:
            self._wake.wait_for(lambda: not (self._under_way or self._waiting))
        if isinstance(self.error, OSError):
            raise RunError(
                f"a checkpoint could not be written to {self._directory} ({self.error.strerror}); "
                "those before it are kept: make room and go on with --resume"
            )
        if self.error:
            raise self.error

    def close(self) -> None:
        """End the thread after what it has to write."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._under_way = None
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._waiting or self._closing)
                written, self._waiting = self._waiting, None
                self._under_way = written
            if written is None:
                return
            try:
                self.finish(written)
            except Exception as error:  # whatever it is, nobody must wait for this thread in vain
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.error = error
        self._failed()

    def finish(self, written: Unfinished) -> None:
        """Bring a checkpoint to the disk, and remove those that are not to be kept; called in the thread."""
        written.finish()
        self._remove_old(written.update)

    def _remove_old(self, update: int) -> None:
        self._written = [*(u for u in self._written if u != update), update]
        for old in self._written[: -self._keep]:
            remove(self._directory, old)
        self._written = self._written[-self._keep :]

    def _found(self) -> list[str]:
        stems = [path.stem for path in self._directory.glob("[0-9]*.json")]
        return sorted(stem for stem in stems if stem.isascii() and stem.isdigit())


def remove(directory: Path, update: int) -> None:
    """Remove a checkpoint, its JSON file first: a part of it must not be taken for the whole."""
    for suffix in (".json", ".safetensors"):
        remove_file((directory / f"{update:012d}").with_suffix(suffix))
