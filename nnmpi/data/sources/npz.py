"""``.npz`` files, read without pickle. Features are read in pieces, and only the requested rows are kept."""

import zipfile
from typing import Any

import numpy.typing as npt

from nnmpi.data.npy import DAMAGE, first_line, opened, read_rows, read_whole
from nnmpi.data.sources.arrays import check_y, checked_weights, checked_y, layout_of
from nnmpi.data.sources.keys import keys_of
from nnmpi.data.sources.source import Indices, Request, Source
from nnmpi.errors import InputError

WEIGHTS = "sample_weight"  # name of the sample weights if --sample-weight is not given


def open_source(request: Request) -> Source:
    """Open the arrays X and y of the file, or another pair of names in `nnmpi.data.sources.keys`."""
    name = request.name
    try:
        with zipfile.ZipFile(name) as archive:
            members = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
            x_key, y_key = keys_of(name, members, request.targets, "save it with numpy.savez(file, X=…, y=…)")
            with opened(archive, x_key) as (_, header):
                size, features, image, dtype = layout_of(name, header.shape, header.dtype, x_key)
            y = None
            if y_key:
                with opened(archive, y_key) as (file, y_header):
                    check_y(name, y_header.shape, y_header.dtype, size, y_key)
                    y = checked_y(name, read_whole(file, y_header), size, y_key)
            weights, weight_key = None, request.columns.weight or WEIGHTS
            if weight_key in members:
                with opened(archive, weight_key) as (file, weights_header):
                    weights = checked_weights(name, read_whole(file, weights_header), size, weight_key)
    except DAMAGE as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    def read(indices: Indices, out: npt.NDArray[Any]) -> None:
        try:
            with zipfile.ZipFile(name) as archive, opened(archive, x_key) as (file, header_now):
                if header_now != header:
                    raise ValueError("the file has changed")
                read_rows(file, header, indices, out, seek=False)
        except DAMAGE as error:
            raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    return Source(name, read, size, features, y, image, dtype, (name,), weights=weights)
