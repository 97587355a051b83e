"""Record the timeline of a run on all ranks; rank 0 collects and writes it at the end."""

import time
from pathlib import Path

import numpy as np

from nnmpi import __version__
from nnmpi.config import Config
from nnmpi.errors import CommandError, RunError
from nnmpi.files.atomic import write_whole
from nnmpi.files.output_file import check_file, check_replaces_no_input
from nnmpi.mpi.clocks import ahead_of_rank_0
from nnmpi.mpi.world import World
from nnmpi.report.timeline import Timeline, clock
from nnmpi.report.trace import RankRows, aligned, trace
from nnmpi.training.output import Output
from nnmpi.training.session import Session


class Recording:
    """Records a timeline and writes it to the file ``--timeline`` when the run ends, also after a shared error.

    Without that setting nothing is recorded, and ``timeline`` is None. A recording survives the death of ranks: the
    survivors call `begin` again and keep their rows. The file has the rank numbers of the start of the run.

    Raises
    ------
    InputError
        From `begin`, on all ranks, if the file cannot be written.
    RunError
        From the end of the context, on all ranks, if the file can no longer be written.
    """

    def __init__(self, config: Config, world: World) -> None:
        self._config, self._world = config, world
        self._path = Path(config.timeline or "")
        self.timeline = Timeline(world.size) if config.timeline else None
        self._readings: list[tuple[int, int, int]] = []  # time, how far ahead of rank 0's clock, initial rank of rank 0
        self._began = time.time()
        world.record(self.timeline)

    def begin(self) -> None:
        """Begin the recording, or continue it with the survivors; all ranks take part."""
        if self.timeline is None:
            return
        config, name = self._config, f"--timeline {self._path}"
        with self._world.together():
            if self._world.rank == 0:
                check_replaces_no_input(self._path, (config.data, config.test_data, config.validation_data), name)
                check_file(self._path, name)
        self._read_clock()

    def attach(self, session: Session, output: Output | None) -> None:
        """Record the parts of a step, and the files that rank 0 writes, from now on."""
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
                timeline.time(output.checkpoints, timeline.written, finish="checkpoint to the disk")

    def _read_clock(self) -> None:
        self._readings.append((*ahead_of_rank_0(self._world, clock), self._world.initial_ranks[0]))

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, error_type: object, error: BaseException | None, traceback: object) -> None:
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
                metadata = {
                    "nnmpi": __version__,
                    "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
                    "world_size": world.size,
                    "lost_ranks": world.lost,
                    "left_out": timeline.left_out and f"steps {timeline.left_out[0] + 1} to {timeline.left_out[1]}",
                }
                try:
                    write_whole(self._path, trace(ranks, metadata))
                except OSError as error:
                    raise RunError(
                        f"--timeline {self._path} can no longer be written ({error.strerror}); "
                        "all other results are complete"
                    ) from None
