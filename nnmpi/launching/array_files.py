"""Arrays in files that several processes of one host map, so that each of them is there once."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Made = TypeVar("Made")


class ArrayFiles:
    """Named arrays in the first of `directories` that has room for them; that is to be one in memory."""

    def __init__(self, directories: list[Path]) -> None:
        self.directories = directories
        self._made: dict[str, Array] = {}  # by `new`

    def new(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An array to fill, whose numbers are in the file at once."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize

        def make(path: Path) -> Array:
            array = np.lib.format.open_memmap(path, "w+", dtype, shape)
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size + 4096)  # else a full disk would end the process (SIGBUS)
            return np.asarray(array)

        self._made[name] = self._where_there_is_room(name, size, make)
        return self._made[name]

    def put(self, name: str, array: Array) -> None:
        """Copy an array, unless it is the one that `new` made for this name."""
        if self._made.get(name) is array:
            return
        self._where_there_is_room(name, array.nbytes, lambda path: np.save(path, array, allow_pickle=False))

    def _where_there_is_room(self, name: str, size: int, make: Callable[[Path], Made]) -> Made:
        self._made.pop(name, None)
        for directory in self.directories:
            path = directory / f"{name}.npy"
            path.unlink(missing_ok=True)
            try:
                return make(path)
            except OSError as error:
                path.unlink(missing_ok=True)
                problem = error
        raise MemoryError(f"no room for {size / 1e9:.1f} GB in {' or '.join(map(str, self.directories))}: {problem}")

    def get(self, name: str, copy: bool = False) -> Array:
        """An array that any process has put: its file mapped, not to be written, or a copy."""
        path = next(path for directory in self.directories if (path := directory / f"{name}.npy").exists())
        return np.asarray(np.load(path, mmap_mode=None if copy else "r", allow_pickle=False))

    def replace(self, name: str, array: Array) -> None:
        """Put another array in the place of one that processes may still have mapped."""
        self.put(f"{name}.new", array)
        self._made.pop(name, None)
        place = next(d for d in self.directories if (d / f"{name}.new.npy").exists())
        for directory in self.directories:
            (directory / f"{name}.npy").unlink(missing_ok=True)
        (place / f"{name}.new.npy").rename(place / f"{name}.npy")

    def clear(self) -> None:
        """Remove all arrays."""
        self._made.clear()
        for directory in self.directories:
            for path in directory.glob("*.npy"):
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the directories with all that is in them."""
        for directory in self.directories:
            shutil.rmtree(directory, ignore_errors=True)
