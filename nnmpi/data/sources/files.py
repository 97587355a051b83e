"""The files of a source: one, or all of a directory."""

import os
from pathlib import Path


def files_of(name: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return `name`, or the files in the directory `name` that end in one of `suffixes`, sorted by name."""
    if not os.path.isdir(name):
        return [name]
    return sorted(str(path) for path in Path(name).iterdir() if path.name.endswith(suffixes) and path.is_file())
