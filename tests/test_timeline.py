"""Timelines: which steps are kept, what a page shows, and how the clocks of hosts are aligned."""

import json
import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.report import timeline
from nnmpi.report.timeline import NUMBERS, PARTS, STEPS, Timeline
from nnmpi.report.trace import RankRows, aligned, microseconds, trace


class Clock:
    """A clock that advances by one at each reading."""

    now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


def run_of(steps: int, size: int, monkeypatch: pytest.MonkeyPatch, first: int = 0, epoch: int = 10**9) -> Timeline:
    """Return a timeline with a batch and an update in each step, and a new phase every `epoch` steps."""
    monkeypatch.setattr(timeline, "clock", Clock())
    recorded = Timeline(size)
    progress = SimpleNamespace(update=first)
    batches = SimpleNamespace(batch=lambda step: [step])
    optimizer = SimpleNamespace(update=lambda: None)
    recorded.time_steps(batches, lambda: progress.update)
    recorded.time(optimizer, update="update")
    for step in range(first, first + steps):
        if (step - first) % epoch == 0:
            recorded.phase("training")
        assert batches.batch(step) == [step]
        optimizer.update()
        progress.update += 1
    return recorded


def rows_of(recorded: Timeline) -> np.ndarray:
    return np.frombuffer(recorded.rows(), np.int64).reshape(-1, 4)


def steps_in(recorded: Timeline) -> list[int]:
    rows = rows_of(recorded)
    return list(rows[rows[:, 0] == NUMBERS["batch"]][:, 3])


@pytest.mark.parametrize("first", [0, 777])
def test_a_run_that_is_not_long_is_kept_whole(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = run_of(2 * STEPS, 1, monkeypatch, first)
    assert steps_in(recorded) == list(range(first, first + 2 * STEPS))
    assert recorded.left_out is None
    assert rows_of(recorded)[:2, 0].tolist() == [NUMBERS["start-up"], NUMBERS["training"]]


@pytest.mark.parametrize("size", [1, 64, 100_000])
def test_of_a_long_run_the_middle_is_left_out_and_told(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 20_000
    recorded = run_of(steps, size, monkeypatch)
    kept = steps_in(recorded)
    assert recorded.left_out
    begin, end = recorded.left_out
    assert kept == [*range(begin), *range(end, steps)]
    part = max(1, min(STEPS, 16_000 // size) // PARTS)
    assert begin == PARTS * part
    assert PARTS * part <= steps - end <= (PARTS + 1) * part
    assert recorded.left_out == run_of(steps, size, monkeypatch).left_out


def test_the_phase_is_known_after_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 2,000 to 17,799 are left out. The phase that continues after them began in this gap."""
    recorded = run_of(20_000, 1, monkeypatch, epoch=7500)
    assert recorded.left_out
    events = page([rank_rows(0, rows_of(recorded))])
    phases = [(e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] == "training"]
    (after,) = [e["ts"] for e in events if e["name"] == f"step {recorded.left_out[1] + 1}"]
    assert len(phases) == 2
    assert phases[1][0] < after < phases[1][1]
    assert phases[1][0] > 0.7 * phases[1][1]


def test_what_raises_leaves_a_row_too() -> None:
    recorded = Timeline()
    optimizer = SimpleNamespace(update=lambda: 1 / 0)
    recorded.time(optimizer, update="update")
    with pytest.raises(ZeroDivisionError):
        optimizer.update()
    assert rows_of(recorded)[-1, 0] == NUMBERS["update"]


def rank_rows(rank: int, main: Any, writer: Any = ()) -> RankRows:
    return RankRows(rank, f"h{rank}", np.array(main, np.int64), np.array(writer, np.int64).reshape(-1, 4))


def page(ranks: list[RankRows]) -> list[dict[str, Any]]:
    """Return the slices of a page, after a check that each track is in order and well nested."""
    document = json.loads(trace(ranks, {"left_out": None}))
    events = [e for e in document["traceEvents"] if e["ph"] == "X"]
    check_tracks(events)
    return events


def check_tracks(events: list[dict[str, Any]]) -> None:
    for track in {(e["pid"], e["tid"]) for e in events}:
        open_slices: list[tuple[int, int]] = []
        previous_start = 0
        for event in (e for e in events if (e["pid"], e["tid"]) == track):
            start = int(event["ts"] * 1000)  # as Perfetto computes it
            end = start + int(event["dur"] * 1000)
            assert previous_start <= start <= end
            previous_start = start
            while open_slices and open_slices[-1][1] <= start:
                open_slices.pop()
            if open_slices:
                assert end <= open_slices[-1][1], (event, open_slices[-1])
            open_slices.append((start, end))


def row(name: str, start: int, end: int = 0, number: int = 0) -> tuple[int, int, int, int]:
    return NUMBERS[name], start, end, number


def test_waiting_is_told_from_reducing() -> None:
    """Rank 1 is the last at collective 5, rank 0 the last at collective 7."""
    early = [row("training", 0), row("batch", 10, 20), row("reduction", 20, 90, 5), row("exchange", 200, 240, 7)]
    late = [row("training", 0), row("batch", 10, 70), row("reduction", 70, 95, 5), row("exchange", 150, 230, 7)]
    events = page([rank_rows(0, early), rank_rows(1, late)])
    slices = {
        (e["pid"], e["name"], round(e["ts"] * 1000), round((e["ts"] + e["dur"]) * 1000), e["args"]["collective"])
        for e in events
        if e["name"] in ("waiting", "reduction", "exchange")
    }
    assert slices == {
        (0, "waiting", 20, 70, 5),
        (0, "reduction", 70, 90, 5),
        (0, "exchange", 200, 240, 7),
        (1, "reduction", 70, 95, 5),
        (1, "waiting", 150, 200, 7),
        (1, "exchange", 200, 230, 7),
    }


def test_step_goes_on_to_its_last_call_and_the_writer_has_a_track_of_its_own() -> None:
    main = [
        *(row("start-up", 0), row("training", 100)),
        *(row("batch", 110, 120, 41), row("update", 130, 150), row("batch", 160, 170, 42), row("update", 180, 190)),
        *(row("evaluation", 250), row("exchange", 260, 270, 9), row("end", 300), row("log", 310, 330)),
    ]
    events = page([rank_rows(0, main, [row("checkpoint to the disk", 140, 400)])])
    times = {e["name"]: (round(e["ts"] * 1000), round((e["ts"] + e["dur"]) * 1000)) for e in events if e["tid"] == 0}
    assert times["step 42"] == (110, 150)
    assert times["step 43"] == (160, 190)
    assert times["training"] == (100, 250)
    assert times["evaluation"] == (250, 300)
    assert times["end"] == (300, 330)
    assert [e["name"] for e in events if e["tid"] == 1] == ["checkpoint to the disk"]


def test_names_of_ranks_and_threads() -> None:
    text = trace(
        [rank_rows(3, [row("training", 0)], [row("checkpoint to the disk", 1, 2)])], {"left_out": "all"}
    ).decode()
    document = json.loads(text)
    assert document["otherData"] == {"left_out": "all"}
    names = {(e["name"], e["pid"], e["tid"], *e["args"].values()) for e in document["traceEvents"] if e["ph"] == "M"}
    assert names == {
        ("process_name", 3, 0, "rank 3 on h3"),
        ("process_sort_index", 3, 0, 3),
        ("thread_name", 3, 0, "main"),
        ("thread_name", 3, 1, "checkpoints"),
    }


def test_slices_that_touch_do_not_overlap_however_a_viewer_reads_them() -> None:
    times = 10**15 + np.cumsum(np.random.default_rng(1).integers(1, 10**6, 5000))
    names = ("batch", "forward", "backward", "update")
    rows = [row(names[i % 4], a, b, i // 4) for i, (a, b) in enumerate(pairwise(times.tolist()))]
    events = page([rank_rows(0, [row("training", int(times[0])), *rows])])
    starts = [int(e["ts"] * 1000) for e in events if e["cat"] == "compute"]
    assert starts == (times[:-1] - times[0]).tolist()


@given(st.integers(0, 10**17))
def test_microseconds_are_exact(ns: int) -> None:
    text = microseconds(ns)
    assert re.fullmatch(r"\d+\.\d{3}", text)
    assert int(text.replace(".", "")) == ns


@pytest.mark.parametrize("drift", [0, 1e-4, -3e-5])
def test_clocks_that_drift_apart_are_brought_together(drift: float) -> None:
    truth = np.linspace(5e12, 5e12 + 3600e9, 50).astype(np.int64)  # an hour
    ahead = 7 * 10**15 + (drift * (truth - truth[0])).astype(np.int64)
    rows = np.stack([np.zeros(50, np.int64), truth + ahead, truth + ahead + 1000, np.arange(50)], axis=1)
    readings = [(int(truth[i] + ahead[i]), int(ahead[i])) for i in (0, -1)]
    aligned_rows = aligned(rows, readings)
    assert np.abs(aligned_rows[:, 1] - truth).max() <= 10
    np.testing.assert_array_equal(aligned_rows[:, [0, 3]], rows[:, [0, 3]])
    assert (np.diff(aligned_rows[:, 1:3].ravel()) > 0).all()


def test_one_reading_is_enough() -> None:
    rows = np.array([[0, 1005, 1010, 0]])
    np.testing.assert_array_equal(aligned(rows, [(1000, 900)]), [[0, 105, 110, 0]])
