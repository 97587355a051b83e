"""``.npy`` files: ``X.npy`` with ``y.npy`` beside it; ``--data`` names ``X.npy`` or the directory."""

import os
from functools import partial
from pathlib import Path

from nnmpi.data.npy import opened_file
from nnmpi.data.sources.arrays import stored_arrays
from nnmpi.data.sources.keys import KEYS, keys_of
from nnmpi.data.sources.source import Request, Source
from nnmpi.errors import InputError


def open_source(request: Request) -> Source:
    """Open the features in the file, or in X.npy of a directory, and the targets in the file beside it."""
    name = request.name
    x_path, y_path = _paths(name, request.targets)
    open_y = partial(opened_file, y_path) if y_path else None
    return stored_arrays(name, partial(opened_file, x_path), open_y, tuple(filter(None, (x_path, y_path))), seek=True)


def _paths(name: str, targets: bool) -> tuple[str, str | None]:
    """Return the paths of features and targets."""
    if os.path.isdir(name):
        files = sorted(path.stem for path in Path(name).glob("*.npy") if path.is_file())
        x_key, y_key = keys_of(name, files, targets, "save numpy.save('X.npy', …) and numpy.save('y.npy', …) in it")
        return str(Path(name, f"{x_key}.npy")), str(Path(name, f"{y_key}.npy")) if y_key else None
    x_path = Path(name)
    y_path = x_path.with_name(_name_of_targets(x_path.stem) + ".npy")
    if y_path.is_file() and y_path != x_path:
        return name, str(y_path)
    if targets:
        if y_path == x_path:
            raise InputError(
                f"--data {name}: this looks like the file of targets: pass the file of samples, such as X.npy"
            )
        raise InputError(f"--data {name}: there is no {y_path.name} beside it: save the targets there")
    return name, None


def _name_of_targets(stem: str) -> str:
    """``X`` → ``y``, ``flights_X`` → ``flights_y``, ``x_train`` → ``y_train``, ``data`` → ``target``."""
    if stem in dict(KEYS):
        return dict(KEYS)[stem]
    return stem[:-1] + "y" if stem[-1:] in ("X", "x") else "y"
