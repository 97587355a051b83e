"""Read a timeline: the time that each rank spent on each group of slices, and the slices that a page draws."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnmpi.report.run_files import RunFiles
from nnmpi.report.trace import Slice

LARGEST = 1 << 28  # bytes of a file
LATEST = 1 << 55  # ns: a year
MOST_SLICES = 40_000  # on a page, about; with more it shows the first and the last slices, and all phases
GROUPS = {"compute": "compute", "communication": "reduction", "waiting": "waiting", "I/O": "I/O"}
REST = "rest"  # time outside these groups: evaluation, start-up, Python between the calls


@dataclass(frozen=True)
class Tracks:
    """A timeline: the slices of each track in order, the names of the ranks, and which steps were not recorded."""

    slices: dict[tuple[int, int], list[Slice]]  # by rank and thread
    names: dict[int, str]  # of the ranks
    left_out: str


@dataclass(frozen=True)
class RankTimes:
    """The seconds that a rank spent on each of `GROUPS` and on `REST`."""

    name: str
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """The sum of all seconds."""
        return sum(self.seconds.values())


def find_timeline(run: RunFiles) -> Path | None:
    """Return the timeline of a run: the file of ``--timeline``, or ``timeline.json`` in the directory of the run."""
    setting = run.settings.get("timeline")
    candidates = [Path(setting)] if isinstance(setting, str) and "\0" not in setting else []
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
        If the file is not a timeline.
    """
    try:
        document = json.loads(path.read_bytes())
        metadata = document["otherData"]
        slices: dict[tuple[int, int], list[Slice]] = defaultdict(list)
        names: dict[int, str] = {}
        for event in document["traceEvents"]:
            if event["ph"] == "M" and event["name"] == "process_name":
                names[_integer(event["pid"])] = str(event["args"]["name"])
            elif event["ph"] == "X":
                start, length = (math.floor(1000 * float(event[key])) for key in ("ts", "dur"))  # see `trace`
                if not 0 <= start <= start + length < LATEST:
                    raise ValueError("a slice ends before it starts, or later than a year")
                track = _integer(event["pid"]), _integer(event["tid"])
                slices[track].append(Slice(str(event["name"]), str(event["cat"]), start, start + length))
        left_out = metadata["left_out"]
    except (OSError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a timeline ({type(error).__name__}: {error})") from None
    if not slices:
        raise ValueError("a timeline without slices")
    ordered = {track: sorted(slices[track], key=lambda s: (s.start, -s.end)) for track in sorted(slices)}
    return Tracks(ordered, names, left_out if isinstance(left_out, str) else "")


def rank_times(tracks: Tracks) -> list[RankTimes]:
    """Return the times of the main thread of each rank; the time of nested slices counts for the inner slice only."""
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
    """Return the data for ``timeline.js``: names and groups of slices, and for each track a flat list of its slices.

    A slice is four integers: index of its name, depth, start and length, in ns. The start is the difference from the
    start of the slice before, which keeps the page small.
    """
    names: dict[tuple[str, str], int] = {}
    all_slices = [s for slices in tracks.slices.values() for s in slices]
    keep = _shown(all_slices)
    drawn_tracks = []
    for (rank, thread), slices in tracks.slices.items():
        flat: list[int] = []
        ends: list[int] = []
        previous_start = 0
        for s in slices:
            while ends and ends[-1] <= s.start:
                ends.pop()
            depth = len(ends)
            ends.append(s.end)
            if not keep(s):
                continue
            name = "step" if s.category == "step" else s.name
            number = names.setdefault((name, GROUPS.get(s.category, s.category)), len(names))
            flat += [number, depth, s.start - previous_start, s.end - s.start]
            previous_start = s.start
        label = tracks.names.get(rank, f"rank {rank}")
        drawn_tracks.append({"name": label if thread == 0 else f"{label}: checkpoints", "slices": flat})
    return {"names": [name for name, _ in names], "groups": [group for _, group in names], "tracks": drawn_tracks}


def _shown(all_slices: list[Slice]) -> Any:
    """Return a function that tells whether the page shows a slice: all, or the first, the last and the phases."""
    if len(all_slices) <= MOST_SLICES:
        return lambda s: True
    starts = sorted(s.start for s in all_slices)
    first, last = starts[MOST_SLICES // 2], starts[-MOST_SLICES // 2]
    return lambda s: s.start < first or s.start > last or s.category == "phase"


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an integer")
    return value
