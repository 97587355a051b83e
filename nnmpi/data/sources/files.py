"""The files of a source: one, or all of a directory."""

import os
from pathlib import Path

from nnmpi.errors import InputError


def files_of(name: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return `name`, or the files in the directory `name` that end in one of `suffixes`, sorted by name.

    Raises
    ------
    InputError
        If `name` is neither such a file nor a directory with one, as reading a pipe may never end, or if PyArrow cannot
        open a file because its name is not in UTF-8.
    """
    if not os.path.exists(name):
        raise InputError(f"--data {name}: no such file")
    paths = [name] if os.path.isfile(name) and name.endswith(suffixes) else []
    if os.path.isdir(name):
        paths = sorted(str(path) for path in Path(name).iterdir() if path.name.endswith(suffixes) and path.is_file())
    if not paths:
        raise InputError(
            f"--data {name}: neither a file that ends in {', '.join(suffixes)} nor a directory of such files"
        )
    for path in paths:
        if any("\ud800" <= character <= "\udfff" for character in path):
            raise InputError(f"--data {path}: its name is not in UTF-8: rename the file")
    return paths
