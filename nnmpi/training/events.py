"""What the training loop tells the outside: the same events, in the same order, on all ranks."""

from dataclasses import dataclass
from typing import Any

from nnmpi.training.evaluation import Scores


@dataclass(frozen=True)
class EpochDone:
    """An epoch ended; ``is_best`` says that its parameters are the ones to keep so far."""

    metrics: dict[str, Any]  # a line of metrics.jsonl
    is_best: bool


@dataclass(frozen=True)
class CheckpointDue:
    """The replicas are equal and a checkpoint is wanted now; with ``stopping`` it is the last before the run stops."""

    stopping: bool = False
    finished: bool = False  # all epochs are done


@dataclass(frozen=True)
class Finished:
    """Training is over: the parameters are the final ones, and these are their scores on the test part.

    ``all_scores`` has all metrics of each part, by its name, as `nnmpi.training.scoring` gives them.
    """

    scores: Scores
    all_scores: dict[str, dict[str, Any]]


Event = EpochDone | CheckpointDue | Finished
