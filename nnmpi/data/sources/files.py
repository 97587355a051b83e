"""The files of a source: one, or all of a directory."""

import os
from pathlib import Path

from nnmpi.errors import InputError


def files_of(name: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return `name`, or the files in the directory `name` that end in one of `suffixes`, sorted by name.

    Raises
    ------
    InputError
        If `name` is neither a file nor a directory, as reading a pipe may never end, or if PyArrow cannot open a file
        because its name is not in UTF-8.
    """
    if os.path.exists(name) and not (os.path.isfile(name) or os.path.isdir(name)):
        raise InputError(f"--data {name}: not a file")
    paths = [name]
    if os.path.isdir(name):
        paths = sorted(str(path) for path in Path(name).iterdir() if path.name.endswith(suffixes) and path.is_file())
    for path in paths:
        if any("\ud800" <= character <= "\udfff" for character in path):
            raise InputError(f"--data {path}: its name is not in UTF-8: rename the file")
    return paths
