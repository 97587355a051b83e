"""The directory of a run. Rank 0 chooses it and tells all ranks; survivors of a rank's death keep it."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from nnmpi.config import Config
from nnmpi.files.run_directory import choose_directory
from nnmpi.mpi.world import World


@dataclass(frozen=True)
class RunPlace:
    """The directory of a run, and the id that marks the lock in it as this run's."""

    directory: Path
    run_id: str


def agree_on_place(config: Config, world: World, known: RunPlace | None) -> RunPlace:
    """Return the directory and id of the run, the same on all ranks. All ranks take part.

    `known` is what this rank agreed on before other ranks died. If any rank has one, all ranks keep it.

    Raises
    ------
    InputError
        On all ranks, if the directory cannot be used, is in use, or holds a run that would be lost.
    """
    encoded = known.run_id.encode() + b" " + os.fsencode(known.directory) if known else b""
    places = [place for place in world.gather_bytes(encoded) if place]
    if not places:
        with world.together():
            if world.rank == 0:
                directory = choose_directory(config.output, config.data, config.resume, config.overwrite)
                encoded = uuid.uuid4().hex.encode() + b" " + os.fsencode(directory)
        places = [world.broadcast_bytes(encoded if world.rank == 0 else None)]
    run_id, _, path = places[0].partition(b" ")
    return RunPlace(Path(os.fsdecode(path)), run_id.decode())
