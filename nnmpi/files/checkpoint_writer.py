"""Write checkpoints in the background."""

import threading
from collections.abc import Callable
from pathlib import Path

from nnmpi.files.atomic import remove_file
from nnmpi.files.checkpoint import Checkpoint, Unfinished
from nnmpi.files.write_error import write_error


class CheckpointWriter:
    """Writes checkpoints, and brings them to the disk in a thread of its own, so that training continues meanwhile.

    If checkpoints come faster than the disk can write them, the newest one waits and older waiting ones are dropped.
    The `keep` newest checkpoints are kept. `on_failure` is called if a checkpoint cannot be written.
    """

    def __init__(
        self, directory: Path, keep: int, resumed_at: int | None, on_failure: Callable[[], None] = lambda: None
    ) -> None:
        self._directory, self._keep = directory, keep
        # files newer than the checkpoint that the run resumed from may be damaged: they are neither counted nor removed
        stems = sorted(path.stem for path in directory.glob("[0-9]*.json"))
        updates = [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]
        self._written = [] if resumed_at is None else [update for update in updates if update <= resumed_at]
        for unfinished in directory.glob(".*.new"):
            remove_file(unfinished)
        self._wake = threading.Condition()
        self._waiting: Unfinished | None = None
        self._under_way: Unfinished | None = None
        self._closing = False
        self.error: Exception | None = None
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._work, name="checkpoints")
        self._thread.start()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint. When this returns, its arrays may change, but it may not be on the disk yet."""
        update = checkpoint.progress.update
        with self._wake:  # two checkpoints of one update would be the same file
            self._wake.wait_for(lambda: update not in [c.update for c in (self._under_way, self._waiting) if c])
        if self.error:  # a checkpoint has failed, so the run is about to end
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
        """Wait until all checkpoints are on the disk.

        Raises
        ------
        RunError
            If a checkpoint could not be written.
        Exception
            Any other error in the thread.
        """
        with self._wake:
            self._wake.wait_for(lambda: not (self._under_way or self._waiting))
        if isinstance(self.error, OSError):
            what = f"a checkpoint could not be written to {self._directory}"
            raise write_error(self._directory, self.error, what)
        if self.error:
            raise self.error

    def close(self) -> None:
        """End the thread after it has written what is waiting."""
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
            except Exception as error:  # any error, so that no other thread waits for this one in vain
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.error = error
        self._on_failure()

    def finish(self, written: Unfinished) -> None:
        """Bring a checkpoint to the disk and remove the oldest ones beyond `keep`; called in the thread."""
        written.finish()
        self._written = [*(u for u in self._written if u != written.update), written.update]
        for old in self._written[: -self._keep]:
            remove(self._directory, old)
        self._written = self._written[-self._keep :]


def remove(directory: Path, update: int) -> None:
    """Remove a checkpoint, its JSON file first, so that a partly removed checkpoint does not count as one."""
    for suffix in (".json", ".safetensors"):
        remove_file((directory / f"{update:012d}").with_suffix(suffix))
