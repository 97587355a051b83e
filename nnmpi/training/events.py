"""Events of the training loop: the same events, in the same order, on all ranks."""

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
