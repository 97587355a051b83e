"""The timelines of all ranks on one page, in the Trace Event Format that Perfetto and chrome://tracing open."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.report.timeline import NUMBERS, SLICES

Rows = npt.NDArray[np.int64]  # shape (rows, 4): index in SLICES, start, end, number
NAMES = list(SLICES)
COLLECTIVES = (NUMBERS["reduction"], NUMBERS["exchange"])
PHASES = [number for name, number in NUMBERS.items() if SLICES[name] == "phase"]


@dataclass(frozen=True)
class RankRows:
    """What one rank recorded: the rows of its two threads, on one clock with those of all other ranks."""

    rank: int
    host: str
    main: Rows
    writer: Rows


@dataclass(frozen=True)
class Slice:
    """A time in which a thread did one thing, in ns of the common clock."""

    name: str
    kind: str
    start: int
    end: int
    arguments: dict[str, Any]


def aligned(rows: Rows, readings: list[tuple[int, int]]) -> Rows:
    """`rows` on the clock of rank 0; `readings` are this clock's times, and how far it was ahead of rank 0's then.

    Between two readings, at the start and at the end of a run, the distance is taken to change evenly.
    """
    out = rows.copy()
    times, ahead = (np.array(values, np.int64) for values in zip(*readings, strict=True))
    for column in (1, 2):
        since = out[:, column] - times[0]  # differences: a float holds them exactly for months
        out[:, column] -= np.rint(np.interp(since, times - times[0], ahead - ahead[0])).astype(np.int64) + ahead[0]
    return out


def trace(ranks: list[RankRows], about: dict[str, Any]) -> bytes:
    """The JSON text; `about` is said of it in ``otherData``.

    Viewers read a time as a binary fraction, and cut it off to whole ns: the digits after those of the ns, 3 of a start
    and 1 of a length, see to it that this is exact, so that slices which touch do not overlap.
    """
    last = last_arrivals(ranks)
    zero = min(int(rank.main[:, 1].min()) for rank in ranks)
    events = []
    for rank in ranks:
        for name, arguments in (
            ("process_name", {"name": f"rank {rank.rank} on {rank.host}"}),
            ("process_sort_index", {"sort_index": rank.rank}),
        ):
            events.append(json.dumps({"name": name, "ph": "M", "pid": rank.rank, "tid": 0, "args": arguments}))
        tracks = {"main": slices(rank.main, last), "checkpoints": slices(rank.writer, last)}
        for thread, (name, found) in enumerate(tracks.items()):
            if not found:
                continue
            head = {"ph": "M", "pid": rank.rank, "tid": thread}
            events.append(json.dumps({"name": "thread_name", **head, "args": {"name": name}}))
            for s in sorted(found, key=lambda s: (s.start, -s.end)):
                text = f'{{"name":"{s.name}","cat":"{s.kind}","ph":"X","pid":{rank.rank},"tid":{thread},'
                text += f'"ts":{microseconds(s.start - zero)}3,"dur":{microseconds(s.end - s.start)}1'
                events.append(text + (f',"args":{json.dumps(s.arguments)}}}' if s.arguments else "}"))
    lines = ",\n".join(events)
    return f'{{"displayTimeUnit":"ns","otherData":{json.dumps(about)},"traceEvents":[\n{lines}\n]}}\n'.encode()


def microseconds(ns: int) -> str:
    """1234567 → ``1234.567``, exactly."""
    return f"{ns // 1000}.{ns % 1000:03d}"


def last_arrivals(ranks: list[RankRows]) -> dict[int, int]:
    """When the last rank entered each collective, where all ranks that are there recorded it."""
    first, *others = [dict(rank.main[np.isin(rank.main[:, 0], COLLECTIVES)][:, [3, 1]].tolist()) for rank in ranks]
    known = set(first).intersection(*others)
    return {number: max(first[number], *(other[number] for other in others)) for number in known} if others else first


def slices(rows: Rows, last: dict[int, int]) -> list[Slice]:
    """The slices of a thread: its rows, a slice for each phase and step around them, and waiting told from the rest."""
    return [*_phases(rows), *_steps(rows), *_calls(rows, last)]


def _calls(rows: Rows, last: dict[int, int]) -> Iterator[Slice]:
    for kind, start, end, number in rows.tolist():
        name = NAMES[kind]
        if kind in COLLECTIVES:
            arrived = min(max(start, last.get(number, start)), end)
            if arrived > start:
                yield Slice("waiting", "waiting", start, arrived, {"collective": number})
            if end > arrived:
                yield Slice(name, SLICES[name], arrived, end, {"collective": number})
        elif kind not in PHASES:
            yield Slice(name, SLICES[name], start, end, {})


def _phases(rows: Rows) -> Iterator[Slice]:
    """A phase goes on until the next; it stands in the rows more than once where they were put aside in between."""
    begins = np.unique(rows[np.isin(rows[:, 0], PHASES)][:, 1::-1], axis=0)  # (start, kind), in order
    if not len(begins):
        return
    ends = [*begins[1:, 0].tolist(), int(rows[:, 1:3].max())]
    for (start, kind), end in zip(begins.tolist(), ends, strict=True):
        yield Slice(NAMES[kind], "phase", start, end, {})


def _steps(rows: Rows) -> Iterator[Slice]:
    """A step goes from its batch to the last thing done before the next step or phase."""
    batches = rows[rows[:, 0] == NUMBERS["batch"]]
    bounds = np.unique(np.concatenate([batches[:, 1], rows[np.isin(rows[:, 0], PHASES)][:, 1]]))
    calls = rows[~np.isin(rows[:, 0], PHASES)]
    calls = calls[np.argsort(calls[:, 1], kind="stable")]
    latest = np.maximum.accumulate(calls[:, 2]) if len(calls) else calls[:, 2]
    for start, number in batches[:, [1, 3]].tolist():
        after = np.searchsorted(bounds, start, "right")
        limit = bounds[after] if after < len(bounds) else np.iinfo(np.int64).max
        end = latest[np.searchsorted(calls[:, 1], limit, "left") - 1]
        yield Slice(f"step {number + 1}", "step", start, int(end), {})
