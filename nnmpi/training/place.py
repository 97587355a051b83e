"""Where a run goes: rank 0 chooses, all ranks know, and survivors stay there."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from nnmpi.config import Config
from nnmpi.files.run_directory import choose_directory
from nnmpi.mpi.world import World


@dataclass(frozen=True)
class RunPlace:
    """The directory of a run, and what marks its lock as that of this run."""

    directory: Path
    run_id: str


def agree_on_place(config: Config, world: World, known: RunPlace | None) -> RunPlace:
    """The place of the run, on all ranks; `known` is what this rank agreed on before others died.

    Raises
    ------
    InputError
        On all ranks, if the directory cannot be used, is in use, or holds a run that would be lost.
    """
    mine = known.run_id.encode() + b" " + os.fsencode(known.directory) if known else b""
    places = [place for place in world.gather_bytes(mine) if place]
    if not places:
        with world.together():
            if world.rank == 0:
                directory = choose_directory(config.output, config.data, config.resume, config.overwrite)
                mine = uuid.uuid4().hex.encode() + b" " + os.fsencode(directory)
        places = [world.broadcast_bytes(mine if world.rank == 0 else None)]
    run_id, _, path = places[0].partition(b" ")
    return RunPlace(Path(os.fsdecode(path)), run_id.decode())
