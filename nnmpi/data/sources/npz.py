"""``.npz`` files, read without pickle. Features are read in pieces, and only the requested rows are kept."""

import dataclasses
import zipfile
from functools import partial

from nnmpi.data.npy import opened, read_whole, reading
from nnmpi.data.sources.arrays import stored_arrays
from nnmpi.data.sources.keys import keys_of
from nnmpi.data.sources.source import Request, Source
from nnmpi.data.weights import checked_weights

WEIGHTS = "sample_weight"  # name of the sample weights if --sample-weight is not given


def open_source(request: Request) -> Source:
    """Open the arrays X and y of the file, or another pair of names in `nnmpi.data.sources.keys`."""
    name = request.name
    with reading(name), zipfile.ZipFile(name) as archive:
        members = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
    x_key, y_key = keys_of(name, members, request.targets, "save it with numpy.savez(file, X=…, y=…)")
    open_y = partial(opened, name, y_key) if y_key else None
    source = stored_arrays(name, partial(opened, name, x_key), open_y, (name,), False, x_key, y_key or "y")
    weight_key = request.columns.weight or WEIGHTS
    if weight_key not in members:
        return source
    with reading(name), opened(name, weight_key) as (file, header):
        weights = checked_weights(name, read_whole(file, header), source.size, weight_key)
    return dataclasses.replace(source, weights=weights)
