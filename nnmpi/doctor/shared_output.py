"""Test whether the other hosts see the directory to which rank 0 writes the results."""

import contextlib
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from nnmpi.mpi.world import World

PATIENCE = 2.0  # seconds for a shared file system to show a new file to other hosts


def shared_output(world: World, output: Path) -> dict[str, Any]:
    """Return whether rank 0 can write to `output`, and which hosts do not see it; all ranks take part.

    Rank 0 creates a file in `output`, or in the nearest existing directory above it, and removes it again. One rank of
    each host looks for the file.
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
        message = world.broadcast_bytes(os.fsencode(token) + b"\0" + problem.encode() if world.rank == 0 else None)
        path, _, text = message.partition(b"\0")
        searches = several and not text and world.addresses.is_first_on_host
        missing = world.gather_bytes(b"" if not searches or is_visible(Path(os.fsdecode(path))) else b"1")
    finally:
        if world.rank == 0 and several:
            with contextlib.suppress(OSError):
                token.unlink()
    unseen = dict.fromkeys(host for host, answer in zip(hosts, missing, strict=True) if answer)
    return {"directory": str(output), "problem": text.decode(), "unseen_by": list(unseen)}


def nearest(directory: Path) -> Path:
    """Return `directory`, or the nearest existing directory above it."""
    place = directory.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place


def is_visible(path: Path) -> bool:
    """Return whether `path` exists, or appears within `PATIENCE`: a network file system may show it late."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
