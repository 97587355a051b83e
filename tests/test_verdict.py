"""The message of a watchdog."""

import pytest

from nnmpi.faults.side_channel import Report
from nnmpi.faults.verdict import ranks, verdict
from nnmpi.mpi.position import place


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([2], "rank 2"),
        ([0, 1], "ranks 0, 1"),
        ([0, 1, 2], "ranks 0 to 2"),
        ([0, 2, 4], "ranks 0, 2, 4"),
        ([0, 1, 2, 3, 5, 7, 8], "ranks 0 to 3, 5, 7, 8"),
    ],
)
def test_ranks(numbers: list[int], text: str) -> None:
    assert ranks(numbers) == text


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (("start-up", 0, 0), "start-up"),
        (("training", 0, 0), "training, epoch 1, step 1"),
        (("training", 2, 11), "training, epoch 3, step 12"),
        (("evaluation", 2, 45), "evaluation, after epoch 3, step 45"),
        (("checkpoint", 3, 0), "checkpoint, after epoch 3"),
    ],
)
def test_place(position: tuple[str, int, int], text: str) -> None:
    assert place(*position) == text


OWN = Report(1, 21, 300.4, 2, 11, "training")
WAITING = Report(3, 21, 299.0, 2, 11, "training")
BUSY = Report(0, 20, 300.0, 2, 10, "training")
HOSTS = {0: "a", 1: "a", 2: "a", 3: "b", 4: "b"}


def verdict_of(
    answers: dict[int, Report], states: dict[int, str | None], unreached: set[int], goes_on: bool = False
) -> str:
    missing = [rank for rank in (0, 2, 3, 4) if rank not in answers or not answers[rank].waits]
    return verdict(OWN, HOSTS, missing, answers, states, unreached, goes_on)


def test_stopped_and_silent_ranks_are_told_from_busy_ones() -> None:
    assert verdict_of({0: BUSY, 3: WAITING}, {2: "T"}, set()) == (
        "no progress for 300 s: ranks 1, 3 wait in training, epoch 3, step 12, for rank 0 on a (still busy in "
        "training, epoch 3, step 11), rank 2 on a (stopped by a signal), rank 4 on b (no answer: stopped, dead, or "
        "its host is cut off). The job ends"
    )


def test_ranks_alike_are_told_together() -> None:
    text = verdict_of({}, {0: None, 2: "R"}, {3, 4}, goes_on=True)
    assert text == (
        "no progress for 300 s: rank 1 waits in training, epoch 3, step 12, for rank 0 on a (dead), rank 2 on a "
        "(alive, but too busy to answer), ranks 3, 4 on b (never answered, perhaps a firewall stops UDP). "
        "The others go on without them"
    )


def test_if_all_have_arrived_mpi_hangs() -> None:
    reports = {rank: Report(rank, 21, 300.0, 2, 11, "training") for rank in (0, 2, 3, 4)}
    assert verdict_of(reports, {}, set()) == (
        "no progress for 300 s: ranks 0 to 4 wait in training, epoch 3, step 12; all have arrived there, so MPI itself "
        "or the network hangs. The job ends"
    )
