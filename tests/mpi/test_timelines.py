"""The timeline of a real job shows every rank, and collectives at the same time on all ranks."""

import json
from pathlib import Path
from typing import Any

import pytest
from jobs import CommandServer, Done, Environment, needed, program_path, run, unchanged
from test_timeline import check_tracks

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

SKEWED = program_path("train_with_other_clocks.py")
STEPS = 45  # steps in an epoch of digits
TRAIN = ("train", "--epochs", "2", "--output", "run", "--checkpoint-every", "30steps", "--timeline", "lines/t.json")


def slices(path: Path) -> list[dict[str, Any]]:
    timeline = json.loads(path.read_text())
    assert timeline["otherData"]["left_out"] is None
    events = [e for e in timeline["traceEvents"] if e["ph"] == "X"]
    check_tracks(events)
    return events


def collectives(events: list[dict[str, Any]], rank: int) -> dict[int, tuple[float, float]]:
    """Return the start and the end of each collective on a rank, in µs."""
    spans: dict[int, tuple[float, float]] = {}
    for e in events:
        if e["pid"] == rank and "args" in e:
            number = e["args"]["collective"]
            start, end = spans.get(number, (float("inf"), 0.0))
            spans[number] = min(start, e["ts"]), max(end, e["ts"] + e["dur"])
    return spans


def check_overlap(events: list[dict[str, Any]], ranks: int, slack: float) -> None:
    """Check that no rank leaves a reduction before all have entered it, to within `slack` µs."""
    spans = [collectives(events, rank) for rank in range(ranks)]
    reductions = {e["args"]["collective"] for e in events if e["name"] == "reduction"}
    assert len(reductions) >= 2 * STEPS
    for number in reductions:
        last_entered = max(span[number][0] for span in spans)
        first_left = min(span[number][1] for span in spans)
        assert first_left >= last_entered - slack


def check_ranks(done: Done, events: list[dict[str, Any]], ranks: int) -> None:
    assert not done.messages
    names = [f"step {step}" for step in range(1, 2 * STEPS + 1)]
    for rank in range(ranks):
        main = [e["name"] for e in events if e["pid"] == rank and e["tid"] == 0]
        assert [name for name in main if name.startswith("step ")] == names
        for name in ("batch", "forward", "loss", "backward", "reduce", "update"):
            assert main.count(name) == 2 * STEPS
        phases = [e["name"] for e in events if e["pid"] == rank and e.get("cat") == "phase"]
        middle = ["training", "checkpoint", "training"]  # after steps 30, 60 and 90
        assert phases == [
            *("start-up", *middle, "evaluation", *middle, "checkpoint", "training", "evaluation", "checkpoint", "end")
        ]
    assert {(e["pid"], e["name"]) for e in events if e["tid"] == 1} == {(0, "checkpoint to the disk")}
    assert {"log", "write a model", "write a checkpoint"} <= {e["name"] for e in events if e["pid"] == 0}


@pytest.mark.parametrize("flags", [(), ("--deterministic",)], ids=["native", "deterministic"])
@pytest.mark.in_turn
def test_every_rank_and_step_is_there(mpi: Environment, flags: tuple[str, ...], tmp_path: Path) -> None:
    done = run(mpi.nnmpi(3, *TRAIN, *flags), tmp_path).succeeded()
    events = slices(tmp_path / "lines/t.json")
    check_ranks(done, events, 3)
    check_overlap(events, 3, 0.0)  # one host, one clock


def test_clocks_of_several_hosts_are_brought_together(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    done = run(mpi.mpiexec(2, mpi.program("python"), SKEWED, *TRAIN), tmp_path).succeeded()
    events = slices(tmp_path / "lines/t.json")
    check_ranks(done, events, 2)
    check_overlap(events, 2, 200_000.0)  # of 5 s; the error is larger on a busy machine


def test_run_that_diverges_leaves_its_timeline(tmp_path: Path) -> None:
    train = (*TRAIN, "--learning-rate", "1000", "--loss", "mse")
    done = run(needed("openmpi").nnmpi(2, *train), tmp_path)
    assert done.status == 1
    assert len(done.messages) == 1
    assert {e["pid"] for e in slices(tmp_path / "lines/t.json") if e["name"] == "step 1"} == {0, 1}


@pytest.mark.parametrize("path", ["taken", "file/t.json"])
def test_place_that_cannot_be_written_is_refused_at_once(nnmpi: CommandServer, path: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()
    with unchanged(tmp_path):
        done = nnmpi("train", "--output", "run", "--timeline", path, cwd=tmp_path)
    assert done.status == 2
    (message,) = done.err.splitlines()
    assert message.startswith(f"nnmpi: --timeline {path}: cannot be written (")
