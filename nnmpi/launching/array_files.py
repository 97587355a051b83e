"""Arrays in files that the processes of one host map, so that each array is in memory only once."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array

Result = TypeVar("Result")


class ArrayFiles:
    """Named arrays, each in the first of `directories` that has room for it.

    The first directory should be in memory (``/dev/shm``), the others on disk.
    """

    def __init__(self, directories: list[Path]) -> None:
        self.directories = directories
        self._made: dict[str, Array] = {}  # by `new`

    def new(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return a new array whose memory is its file, for the caller to fill."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize

        def make(path: Path) -> Array:
            array = np.lib.format.open_memmap(path, "w+", dtype, shape)
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size + 4096)  # without this, a full disk ends the process (SIGBUS)
            return np.asarray(array)

        self._made[name] = self._write_where_it_fits(name, size, make)
        return self._made[name]

    def put(self, name: str, array: Array) -> None:
        """Write a copy of `array`, unless it is the array that `new` made for this name."""
        if self._made.get(name) is not array:
            self._write_where_it_fits(name, array.nbytes, lambda path: np.save(path, array, allow_pickle=False))

    def _write_where_it_fits(self, name: str, size: int, write: Callable[[Path], Result]) -> Result:
        self._made.pop(name, None)
        for directory in self.directories:
            path = directory / f"{name}.npy"
            path.unlink(missing_ok=True)
            try:
                return write(path)
            except OSError as error:
                path.unlink(missing_ok=True)
                problem = error
        raise MemoryError(f"no room for {size / 1e9:.1f} GB in {' or '.join(map(str, self.directories))}: {problem}")

    def get(self, name: str, copy: bool = False) -> Array:
        """Return the array that some process has written: its file mapped read-only, or a copy in memory."""
        path = self._directory_of(name) / f"{name}.npy"
        return np.asarray(np.load(path, mmap_mode=None if copy else "r", allow_pickle=False))

    def _directory_of(self, name: str) -> Path:
        for directory in self.directories:
            if (directory / f"{name}.npy").exists():
                return directory
        raise FileNotFoundError(f"no array {name} in {' or '.join(map(str, self.directories))}")

    def replace(self, name: str, array: Array) -> None:
        """Replace an array that processes may still have mapped."""
        self.put(f"{name}.new", array)
        self._made.pop(name, None)
        target = self._directory_of(f"{name}.new")
        for directory in self.directories:
            (directory / f"{name}.npy").unlink(missing_ok=True)
        (target / f"{name}.new.npy").rename(target / f"{name}.npy")

    def clear(self) -> None:
        """Remove all arrays."""
        self._made.clear()
        for directory in self.directories:
            for path in directory.glob("*.npy"):
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the directories and everything in them."""
        for directory in self.directories:
            shutil.rmtree(directory, ignore_errors=True)
