"""`nnmpi.train` resumes on all ranks. An error on rank 0, or in the settings of one rank, is raised on all ranks."""

import errno
from typing import Any

from mpi4py import MPI

import nnmpi
from nnmpi.errors import InputError, RunError
from nnmpi.files.run_log import RunLog

SMALL = {"hidden": (8,), "output": "run", "deterministic": True}
world = MPI.COMM_WORLD


def losses(result: nnmpi.Result) -> list[float]:
    return [metrics["train_loss"] for metrics in result.metrics]


first = nnmpi.train("iris", epochs=2, **SMALL)
resumed = nnmpi.train("iris", epochs=4, resume=True, **SMALL)
uninterrupted = nnmpi.train("iris", epochs=4, **SMALL | {"output": "straight"})
assert losses(resumed) == losses(uninterrupted)
assert losses(resumed)[:2] == losses(first)
assert resumed.scores == uninterrupted.scores
assert resumed.model.parameters.tobytes() == uninterrupted.model.parameters.tobytes()


def error_message(error: type[Exception], **settings: Any) -> str:
    try:
        nnmpi.train("iris", **SMALL | settings)
    except error as raised:
        return str(raised)
    raise AssertionError


def fail(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


messages = [error_message(InputError), error_message(InputError, resume=True, seed=world.rank)]
RunLog.epoch = fail  # type: ignore[method-assign]
messages.append(error_message(RunError, output="full"))
assert world.allgather(messages) == [messages] * world.size, messages
print("equal", flush=True)
