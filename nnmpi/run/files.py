"""Files that are whole or not there."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, sync: bool = True) -> None:
    """Replace `path` by `data` in one move, with `sync` after they have reached the disk."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the new name, too, has to reach the disk
        finally:
            os.close(directory)
