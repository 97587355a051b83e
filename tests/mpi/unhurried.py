"""Checkpoints that training waits for, so that a slow disk does not decide which of them there are."""

from nnmpi.files.checkpoint import Checkpoint
from nnmpi.files.checkpoint_writer import CheckpointWriter

original_save = CheckpointWriter.save


def save_and_wait(self: CheckpointWriter, checkpoint: Checkpoint) -> None:
    original_save(self, checkpoint)
    with self._wake:
        self._wake.wait_for(lambda: not (self._under_way or self._waiting))


def wait_for_checkpoints() -> None:
    """From now on, in this process."""
    CheckpointWriter.save = save_and_wait  # type: ignore[method-assign]
