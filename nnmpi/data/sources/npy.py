"""``.npy`` files: ``X.npy`` with ``y.npy`` beside it; ``--data`` names ``X.npy`` or the directory."""

import os
from pathlib import Path
from typing import Any

import numpy.typing as npt

from nnmpi.data.npy import DAMAGE, first_line, opened_file, read_rows, read_whole
from nnmpi.data.sources.arrays import check_y, checked_y, layout_of
from nnmpi.data.sources.keys import KEYS, keys_of
from nnmpi.data.sources.source import Indices, Request, Source
from nnmpi.errors import InputError


def open_source(request: Request) -> Source:
    """Open the features in the file, or in X.npy of a directory, and the targets in the file beside it."""
    name = request.name
    x_path, y_path = _paths(name, request.targets)
    try:
        with opened_file(x_path) as (_, header):
            size, features, image, dtype = layout_of(name, header.shape, header.dtype)
        y = None
        if y_path:
            with opened_file(y_path) as (file, y_header):
                check_y(name, y_header.shape, y_header.dtype, size)
                y = checked_y(name, read_whole(file, y_header), size)
    except DAMAGE as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    def read(indices: Indices, out: npt.NDArray[Any]) -> None:
        # not a memory map: every page read would count as the rank's memory until it is unmapped
        try:
            with opened_file(x_path) as (file, header_now):
                if header_now != header:
                    raise ValueError("the file has changed")
                read_rows(file, header, indices, out, seek=True)
        except DAMAGE as error:
            raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    return Source(name, read, size, features, y, image, dtype, tuple(filter(None, (x_path, y_path))))


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
