"""The timeline of a run: begun on all ranks, and at the end brought to rank 0, which writes it."""

import time
from pathlib import Path

import numpy as np

from nnmpi import __version__
from nnmpi.errors import CommandError, InputError, RunError
from nnmpi.files.atomic import check_writable, write_whole
from nnmpi.mpi.clocks import ahead_of_rank_0
from nnmpi.mpi.world import World
from nnmpi.report.timeline import Timeline, clock
from nnmpi.report.trace import RankRows, aligned, trace
from nnmpi.training.output import Output
from nnmpi.training.session import Session


class Recording:
    """A timeline that goes to the file `path` when the run ends, also by an error that all ranks share.

    Without a `path` there is none, and ``timeline`` is None. It outlasts the death of ranks: the survivors `begin`
    again, and keep what they have. Ranks have their numbers of the start.

    Raises
    ------
    InputError
        From `begin`, on all ranks, if the file cannot be written.
    RunError
        From leaving the context, on all ranks, if it can no longer be written.
    """

    def __init__(self, path: str | None, world: World) -> None:
        self._path, self._world = Path(path or ""), world
        self.timeline = Timeline(world.size) if path else None
        self._readings: list[tuple[int, int, int]] = []  # time, how far ahead of the clock of a rank, that rank
        self._began = time.time()
        world.record(self.timeline)

    def begin(self) -> None:
        """Begin, or go on with the ranks there are; all of them take part."""
        if self.timeline is None:
            return
        with self._world.together():
            if self._world.rank == 0:
                _check(self._path)
        self._read_clock()

    def attach(self, session: Session, output: Output | None) -> None:
        """Let the parts of a step, and what rank 0 writes, leave rows in the timeline from now on."""
        timeline = self.timeline
        if timeline is None:
            return
        network = session.network
        timeline.time_steps(session.batches, lambda: session.progress.update)
        timeline.time(network, draw_dropout="dropout", forward="forward", loss="loss", backward="backward", add_l2="l2")
        timeline.time(session.optimizer, update="update")
        timeline.time(session.reduction, reduce="reduce")
        if output:
            timeline.time(output, model="write a model")
            timeline.time(output.log, epoch="log")
            if output.checkpoints:
                timeline.time(output.checkpoints, save="write a checkpoint")
                timeline.time_thread(output.checkpoints, finish="checkpoint to the disk")

    def _read_clock(self) -> None:
        self._readings.append((*ahead_of_rank_0(self._world, clock), self._world.initial_ranks[0]))

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.timeline and (error is None or (isinstance(error, CommandError) and error.shared)):
            self._write(self.timeline)

    def _write(self, timeline: Timeline) -> None:
        world = self._world
        self._read_clock()
        readings = [reading[:2] for reading in self._readings if reading[2] == world.initial_ranks[0]]
        clocks = world.gather_bytes(np.array(readings, np.int64).tobytes())
        mains = world.gather_bytes(timeline.rows())
        writers = world.gather_bytes(np.array(timeline.written, np.int64).tobytes())
        hosts = world.addresses.hosts()
        with world.together():
            if world.rank == 0:
                ranks = []
                for i, (rank, host) in enumerate(zip(world.initial_ranks, hosts, strict=True)):
                    pairs = [(a, b) for a, b in np.frombuffer(clocks[i], np.int64).reshape(-1, 2).tolist()]
                    main, writer = (
                        aligned(np.frombuffer(rows[i], np.int64).reshape(-1, 4), pairs) for rows in (mains, writers)
                    )
                    ranks.append(RankRows(rank, host, main, writer))
                about = {
                    "nnmpi": __version__,
                    "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
                    "world_size": world.size,
                    "lost_ranks": world.lost,
                    "left_out": timeline.left_out and f"steps {timeline.left_out[0] + 1} to {timeline.left_out[1]}",
                }
                try:
                    write_whole(self._path, trace(ranks, about))
                except OSError as error:
                    raise RunError(
                        f"--timeline {self._path} can no longer be written ({error.strerror}); "
                        "all other results are complete"
                    ) from None


def _check(path: Path) -> None:
    """Find out now what would go wrong when the training is done."""
    try:
        check_writable(path)
    except OSError as error:
        raise InputError(f"--timeline {path}: cannot be written ({error.strerror}); choose another file") from None
