"""What a training tells its caller, and is asked from outside: events, the same on all ranks, and requests."""

from dataclasses import dataclass
from typing import Any

from nnmpi.training.evaluation import Scores


@dataclass(frozen=True)
class EpochDone:
    """An epoch ended. ``is_best`` says whether its parameters replace those of the model file."""

    metrics: dict[str, Any]  # a line of metrics.jsonl
    is_best: bool


@dataclass(frozen=True)
class CheckpointDue:
    """A checkpoint is due, and all replicas are equal. With ``stopping`` the run stops after it."""

    stopping: bool = False
    finished: bool = False  # all epochs are done


@dataclass(frozen=True)
class Finished:
    """Training ended. ``scores`` are those of the final parameters on the test part.

    ``all_scores`` holds all metrics of each part, by its name; see `nnmpi.training.scoring.all_scores`.
    """

    scores: Scores
    all_scores: dict[str, dict[str, Any]]


Event = EpochDone | CheckpointDue | Finished


@dataclass
class Requests:
    """Requests of this rank to all ranks. They are set outside the loop and sent with every step."""

    stop: bool = False
    checkpoint: bool = False
