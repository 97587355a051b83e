"""HDF5 files, read by h5py in slices: ``file.h5`` with datasets X and y, or ``file.h5::features,labels``."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnmpi.arrays import Array, Indices
from nnmpi.data.npy import BYTES_AT_ONCE, DAMAGE, first_line
from nnmpi.data.sources.arrays import check_y, checked_y, layout_of
from nnmpi.data.sources.extras import needed
from nnmpi.data.sources.keys import keys_of
from nnmpi.data.sources.source import Request, Source, in_pieces
from nnmpi.errors import InputError


def open_source(request: Request) -> Source:
    """Open the datasets X and y of the file, or the datasets named after ``::``."""
    name = request.name
    path, _, chosen = name.partition("::")
    with _opened(name, path) as file:
        x_key, y_key = _keys(name, file, chosen, request.targets)
        x = file[x_key]
        size, features, image, dtype = layout_of(name, x.shape, _dtype(x), x_key)
        y = None
        if y_key:
            dataset = file[y_key]
            check_y(name, dataset.shape, _dtype(dataset), size, y_key)
            is_text = _dtype(dataset).kind == "U"
            stored = dataset.asstr("utf-8")[...].astype(str) if is_text else dataset[...]
            y = checked_y(name, stored, size, y_key)

    def read(indices: Indices, out: Array) -> None:
        with _opened(name, path) as file:
            x = file[x_key]
            if x.shape[0] != size or x.size != size * features:
                raise InputError(f"--data {name}: the file has changed")
            for _, _, positions in in_pieces(indices, size, _rows_at_once(x)):
                if len(positions):
                    start, stop = int(indices[positions].min()), int(indices[positions].max()) + 1
                    out[positions] = x[start:stop].reshape(stop - start, features)[indices[positions] - start]

    return Source(name, read, size, features, y, image, dtype, (path,))


@contextlib.contextmanager
def _opened(name: str, path: str) -> Iterator[Any]:
    h5py = needed("h5py", "hdf5", f"--data {name}:")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (*DAMAGE, KeyError, TypeError) as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None


def _keys(name: str, file: Any, chosen: str, targets: bool) -> tuple[str, str | None]:
    import h5py

    members: list[str] = []
    file.visititems(lambda key, item: members.append(key) if isinstance(item, h5py.Dataset) else None)
    remedy = f"name them as in {os.path.basename(name.partition('::')[0])}::features,labels"
    if not chosen:
        return keys_of(name, members, targets, remedy)
    keys = [key.strip().strip("/") for key in chosen.split(",")]
    missing = [key for key in keys if key not in members]
    if missing or len(keys) > 2 or (targets and len(keys) < 2):
        listed = ", ".join(members[:10]) + (", …" if len(members) > 10 else "")
        raise InputError(f"--data {name}: {remedy}; the datasets of the file are: {listed or 'none'}")
    return keys[0], keys[1] if len(keys) > 1 else None


def _dtype(dataset: Any) -> np.dtype[Any]:
    """Return the type of a dataset's elements; for strings of variable length, the type of an array of strings."""
    import h5py

    text = h5py.check_string_dtype(dataset.dtype)
    return np.dtype("U1") if text and text.length is None else np.dtype(dataset.dtype)


def _rows_at_once(dataset: Any) -> int:
    """Return the number of rows to read at once: about 16 MB, in whole chunks, so that no chunk is read twice."""
    width = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])))
    rows = max(1, BYTES_AT_ONCE // width)
    chunk = int(dataset.chunks[0]) if dataset.chunks else 1
    return int(max(chunk, rows - rows % chunk))
