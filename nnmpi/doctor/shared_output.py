"""Whether the other hosts see the directory to which rank 0 writes the results."""

import contextlib
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from nnmpi.mpi.world import World

PATIENCE = 2.0  # seconds that a shared file system has to show a new file to other hosts


def shared_output(world: World, output: Path) -> dict[str, Any]:
    """Whether rank 0 can write to `output`, and which hosts do not see it; all ranks take part.

    Rank 0 leaves a file there for a moment, or in the nearest directory above that exists: nothing is created that
    stays. One rank of each other host looks for it.
    """
    hosts = world.addresses.hosts()
    several = len(set(hosts)) > 1
    token, problem = Path(), ""
    if world.rank == 0:
        place = nearest(output)
        token = place / f".nnmpi-info-{uuid.uuid4().hex}"
        try:
            if several:
                token.touch(exist_ok=False)
            else:
                tempfile.TemporaryFile(dir=place).close()  # a file without a name
        except OSError as error:
            problem = f"{place} cannot be written ({error.strerror})"
    try:
        said = world.broadcast_bytes(os.fsencode(token) + b"\0" + problem.encode() if world.rank == 0 else None)
        path, _, text = said.partition(b"\0")
        looks = several and not text and world.addresses.is_first_on_host
        missing = world.gather_bytes(b"" if not looks or seen(Path(os.fsdecode(path))) else b"1")
    finally:
        if world.rank == 0 and several:
            with contextlib.suppress(OSError):
                token.unlink()
    unseen = dict.fromkeys(host for host, answer in zip(hosts, missing, strict=True) if answer)
    return {"directory": str(output), "problem": text.decode(), "unseen_by": list(unseen)}


def nearest(directory: Path) -> Path:
    """`directory`, or the nearest one above that exists."""
    place = directory.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place


def seen(path: Path) -> bool:
    """Whether `path` is there, or comes soon: a network's file system may take a while."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
