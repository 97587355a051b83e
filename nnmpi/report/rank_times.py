"""A timeline read back: what each rank spent its time on, and the slices that a page draws."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnmpi.report.run_files import RunFiles

LARGEST = 1 << 28  # bytes of a file
LATEST = 1 << 55  # ns: a year
MOST_SLICES = 40_000  # in a page, in all; the first and the last are kept, long ones always
GROUPS = {"compute": "compute", "communication": "reduction", "waiting": "waiting", "I/O": "I/O"}
REST = "rest"  # what no slice explains: evaluation, start-up, Python between the calls


@dataclass(frozen=True)
class Slice:
    """A time in which a track did one thing, in ns since the start."""

    name: str
    category: str
    start: int
    end: int


@dataclass(frozen=True)
class Tracks:
    """A timeline: the slices of each track, in order, and what the file says of itself."""

    slices: dict[tuple[int, int], list[Slice]]  # by rank and thread
    names: dict[int, str]  # of the ranks
    left_out: str


@dataclass(frozen=True)
class RankTimes:
    """The seconds that a rank spent on each of `GROUPS` and on the rest."""

    name: str
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.seconds.values())


def find_timeline(run: RunFiles) -> Path | None:
    """The timeline of a run: the file that ``--timeline`` named or ``timeline.json`` in its directory."""
    named = run.settings.get("timeline")
    candidates = [Path(named)] if isinstance(named, str) and "\0" not in named else []
    for path in [*candidates, run.directory / "timeline.json"]:
        try:
            if path.is_file() and path.stat().st_size <= LARGEST:
                return path
        except OSError:
            continue
    return None


def read_timeline(path: Path) -> Tracks:
    """Read a file that ``train --timeline`` wrote.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    try:
        document = json.loads(path.read_bytes())
        about = document["otherData"]
        slices: dict[tuple[int, int], list[Slice]] = defaultdict(list)
        names: dict[int, str] = {}
        for event in document["traceEvents"]:
            if event["ph"] == "M" and event["name"] == "process_name":
                names[_whole(event["pid"])] = str(event["args"]["name"])
            elif event["ph"] == "X":
                start, length = (math.floor(1000 * float(event[key])) for key in ("ts", "dur"))  # see `trace`
                if not 0 <= start <= start + length < LATEST:
                    raise ValueError("a slice ends before it starts, or later than a year")
                track = _whole(event["pid"]), _whole(event["tid"])
                slices[track].append(Slice(str(event["name"]), str(event["cat"]), start, start + length))
        left_out = about["left_out"]
    except (OSError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a timeline ({type(error).__name__}: {error})") from None
    if not slices:
        raise ValueError("a timeline without slices")
    ordered = {track: sorted(slices[track], key=lambda s: (s.start, -s.end)) for track in sorted(slices)}
    return Tracks(ordered, names, left_out if isinstance(left_out, str) else "")


def rank_times(tracks: Tracks) -> list[RankTimes]:
    """What the main thread of each rank spent its time on; a slice within another counts only for the inner one."""
    times = []
    for (rank, thread), slices in tracks.slices.items():
        if thread != 0:
            continue
        seconds = dict.fromkeys([*GROUPS.values(), REST], 0.0)
        open_slices: list[tuple[int, str]] = []  # end and group, the innermost last
        now = slices[0].start
        for s in [*slices, Slice("end", "", LATEST, LATEST)]:
            while open_slices and open_slices[-1][0] <= s.start:
                end, group = open_slices.pop()
                seconds[group] += max(0, end - now) / 1e9
                now = max(now, end)
            if open_slices:
                seconds[open_slices[-1][1]] += max(0, s.start - now) / 1e9
            now = max(now, s.start)
            open_slices.append((s.end, GROUPS.get(s.category, REST)))
        times.append(RankTimes(tracks.names.get(rank, f"rank {rank}"), seconds))
    return times


def drawing(tracks: Tracks) -> dict[str, Any]:
    """What the script of a page draws: names, colours' groups and, by track, flat lists of name, depth, start, length.

    Times are in ns, the starts as differences from the slice before, which keeps the page small.
    """
    names: dict[tuple[str, str], int] = {}
    everything = [s for slices in tracks.slices.values() for s in slices]
    keep = _window(everything)
    out = []
    for (rank, thread), slices in tracks.slices.items():
        flat: list[int] = []
        ends: list[int] = []
        before = 0
        for s in slices:
            while ends and ends[-1] <= s.start:
                ends.pop()
            depth = len(ends)
            ends.append(s.end)
            if not keep(s):
                continue
            name = "step" if s.category == "step" else s.name
            number = names.setdefault((name, GROUPS.get(s.category, s.category)), len(names))
            flat += [number, depth, s.start - before, s.end - s.start]
            before = s.start
        label = tracks.names.get(rank, f"rank {rank}")
        out.append({"name": label if thread == 0 else f"{label}: checkpoints", "slices": flat})
    return {"names": [name for name, _ in names], "groups": [group for _, group in names], "tracks": out}


def _window(everything: list[Slice]) -> Any:
    """Which slices a page has room for: all, or those at the beginning and at the end, and the phases."""
    if len(everything) <= MOST_SLICES:
        return lambda s: True
    starts = sorted(s.start for s in everything)
    first, last = starts[MOST_SLICES // 2], starts[-MOST_SLICES // 2]
    return lambda s: s.start < first or s.start > last or s.category == "phase"


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value
