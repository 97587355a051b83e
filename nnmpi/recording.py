"""The timeline of a run: begun on all ranks, and at the end brought to rank 0, which writes it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nnmpi import __version__
from nnmpi.errors import CommandError, InputError, RunError
from nnmpi.mpi.clocks import ahead_of_rank_0
from nnmpi.mpi.world import World
from nnmpi.run.files import write_whole
from nnmpi.run.timeline import Timeline, clock
from nnmpi.run.trace import RankRows, aligned, trace


@contextmanager
def recorded(path: str | None, world: World) -> Iterator[Timeline | None]:
    """A timeline that is written to `path` when the block ends, also by an error that all ranks share; all enter.

    Without a `path` there is none.

    Raises
    ------
    InputError
        On all ranks, at once, if the file cannot be written.
    RunError
        On all ranks, at the end, if it can no longer be written.
    """
    if path is None:
        yield None
        return
    with world.together():
        if world.rank == 0:
            _check(Path(path))
    timeline = Timeline(world.size)
    world.record(timeline)
    readings = [ahead_of_rank_0(world, clock)]
    began = time.time()
    try:
        yield timeline
    except CommandError as error:
        if error.shared:
            _write(Path(path), world, timeline, readings, began)
        raise
    finally:
        world.record(None)
    _write(Path(path), world, timeline, readings, began)


def _check(path: Path) -> None:
    """Find out now what would go wrong when the training is done."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        trial = path.with_name(f".{path.name}.new")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"--timeline {path}: cannot be written ({error.strerror}); choose another file") from None


def _write(path: Path, world: World, timeline: Timeline, readings: list[tuple[int, int]], began: float) -> None:
    readings = [*readings, ahead_of_rank_0(world, clock)]
    clocks = world.gather_bytes(np.array(readings, np.int64).tobytes())
    mains = world.gather_bytes(timeline.rows())
    writers = world.gather_bytes(np.array(timeline.written, np.int64).tobytes())
    hosts = world.hosts()
    with world.together():
        if world.rank == 0:
            ranks = []
            for rank, host in enumerate(hosts):
                pairs = [(a, b) for a, b in np.frombuffer(clocks[rank], np.int64).reshape(-1, 2).tolist()]
                main, writer = (
                    aligned(np.frombuffer(data[rank], np.int64).reshape(-1, 4), pairs) for data in (mains, writers)
                )
                ranks.append(RankRows(rank, host, main, writer))
            about = {
                "nnmpi": __version__,
                "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
                "world_size": world.size,
                "left_out": timeline.left_out and f"steps {timeline.left_out[0] + 1} to {timeline.left_out[1]}",
            }
            try:
                write_whole(path, trace(ranks, about))
            except OSError as error:
                raise RunError(
                    f"--timeline {path} can no longer be written ({error.strerror}); all other results are complete"
                ) from None
