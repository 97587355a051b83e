"""Write the timelines of all ranks in the Trace Event Format, which Perfetto and chrome://tracing open."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.report.timeline import NUMBERS, SLICES

Rows = npt.NDArray[np.int64]  # shape (rows, 4): code (index in SLICES), start, end, number
NAMES = list(SLICES)
COLLECTIVES = (NUMBERS["reduction"], NUMBERS["exchange"])
PHASES = [number for name, number in NUMBERS.items() if SLICES[name] == "phase"]


@dataclass(frozen=True)
class RankRows:
    """The rows of the two threads of one rank, on the clock that all ranks share."""

    rank: int
    host: str
    main: Rows
    writer: Rows


@dataclass(frozen=True)
class Slice:
    """A time span in which a thread did one thing, in ns."""

    name: str
    category: str
    start: int
    end: int
    arguments: dict[str, Any] | None = None


def aligned(rows: Rows, readings: list[tuple[int, int]]) -> Rows:
    """Return `rows` on the clock of rank 0.

    `readings` are pairs in ns: a time on the rank's clock, and how far this clock was ahead of that of rank 0 then.
    Between two readings the difference is interpolated linearly.
    """
    shifted = rows.copy()
    times, ahead = (np.array(values, np.int64) for values in zip(*readings, strict=True))
    for column in (1, 2):
        since = shifted[:, column] - times[0]  # differences: a float holds them exactly for months
        drift = np.interp(since, times - times[0], ahead - ahead[0])
        shifted[:, column] -= np.rint(drift).astype(np.int64) + ahead[0]
    return shifted


def trace(ranks: list[RankRows], metadata: dict[str, Any]) -> bytes:
    """Return the JSON text, with `metadata` as its ``otherData``.

    Times are in µs. Viewers read them as floating-point numbers and truncate them to whole ns. One more digit than the
    ns need, 3 for a start and 1 for a duration, makes this exact, so that adjacent slices do not overlap.
    """
    last = _last_arrivals(ranks)
    zero = min(int(rank.main[:, 1].min()) for rank in ranks)
    events = []
    for rank in ranks:
        for name, arguments in (
            ("process_name", {"name": f"rank {rank.rank} on {rank.host}"}),
            ("process_sort_index", {"sort_index": rank.rank}),
        ):
            events.append(json.dumps({"name": name, "ph": "M", "pid": rank.rank, "tid": 0, "args": arguments}))
        tracks = {"main": _slices(rank.main, last), "checkpoints": _slices(rank.writer, last)}
        for thread, (name, track) in enumerate(tracks.items()):
            if not track:
                continue
            head = {"ph": "M", "pid": rank.rank, "tid": thread}
            events.append(json.dumps({"name": "thread_name", **head, "args": {"name": name}}))
            for s in sorted(track, key=lambda s: (s.start, -s.end)):
                text = f'{{"name":"{s.name}","cat":"{s.category}","ph":"X","pid":{rank.rank},"tid":{thread},'
                text += f'"ts":{microseconds(s.start - zero)}3,"dur":{microseconds(s.end - s.start)}1'
                events.append(text + (f',"args":{json.dumps(s.arguments)}}}' if s.arguments else "}"))
    lines = ",\n".join(events)
    return f'{{"displayTimeUnit":"ns","otherData":{json.dumps(metadata)},"traceEvents":[\n{lines}\n]}}\n'.encode()


def microseconds(ns: int) -> str:
    """Convert ns to text in µs, exactly: 1234567 → ``1234.567``."""
    return f"{ns // 1000}.{ns % 1000:03d}"


def _last_arrivals(ranks: list[RankRows]) -> dict[int, int]:
    """Return when the last rank entered each collective that all of `ranks` recorded."""
    first, *others = [dict(rank.main[np.isin(rank.main[:, 0], COLLECTIVES)][:, [3, 1]].tolist()) for rank in ranks]
    in_all = set(first).intersection(*others)
    return {number: max(first[number], *(other[number] for other in others)) for number in in_all} if others else first


def _slices(rows: Rows, last: dict[int, int]) -> list[Slice]:
    """Return the slices of a thread: phases, steps and calls. A collective is split into waiting and communication."""
    return [*_phases(rows), *_steps(rows), *_calls(rows, last)]


def _calls(rows: Rows, last: dict[int, int]) -> Iterator[Slice]:
    for code, start, end, number in rows.tolist():
        name = NAMES[code]
        if code in COLLECTIVES:
            arrived = min(max(start, last.get(number, start)), end)
            if arrived > start:
                yield Slice("waiting", "waiting", start, arrived, {"collective": number})
            if end > arrived:
                yield Slice(name, SLICES[name], arrived, end, {"collective": number})
        elif code not in PHASES:
            yield Slice(name, SLICES[name], start, end)


def _phases(rows: Rows) -> Iterator[Slice]:
    """Yield the phases. A phase lasts until the next one; its row is repeated at the beginning of each part."""
    begins = np.unique(rows[np.isin(rows[:, 0], PHASES)][:, 1::-1], axis=0)  # (start, code), in order
    if not len(begins):
        return
    ends = [*begins[1:, 0].tolist(), int(rows[:, 1:3].max())]
    for (start, code), end in zip(begins.tolist(), ends, strict=True):
        yield Slice(NAMES[code], "phase", start, end)


def _steps(rows: Rows) -> Iterator[Slice]:
    """Yield the steps. A step lasts from its batch to the end of the last call before the next step or phase."""
    batches = rows[rows[:, 0] == NUMBERS["batch"]]
    bounds = np.unique(np.concatenate([batches[:, 1], rows[np.isin(rows[:, 0], PHASES)][:, 1]]))
    calls = rows[~np.isin(rows[:, 0], PHASES)]
    calls = calls[np.argsort(calls[:, 1], kind="stable")]
    latest = np.maximum.accumulate(calls[:, 2]) if len(calls) else calls[:, 2]
    for start, number in batches[:, [1, 3]].tolist():
        after = np.searchsorted(bounds, start, "right")
        limit = bounds[after] if after < len(bounds) else np.iinfo(np.int64).max
        end = latest[np.searchsorted(calls[:, 1], limit, "left") - 1]
        yield Slice(f"step {number + 1}", "step", start, int(end))
