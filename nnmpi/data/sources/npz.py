"""``.npz`` files, read without pickle: features in pieces of which only the wanted rows are kept."""

import zipfile
from typing import Any

import numpy.typing as npt

from nnmpi.data.npy import DAMAGE, first_line, opened, read_rows, read_whole
from nnmpi.data.sources.arrays import check_y, checked_weights, checked_y, layout_of
from nnmpi.data.sources.keys import keys_of
from nnmpi.data.sources.source import Indices, Request, Source
from nnmpi.errors import InputError

WEIGHTS = "sample_weight"  # what the weights of the samples are called, unless --sample-weight names them


def open_source(request: Request) -> Source:
    """The arrays X and y of the file, or two that `nnmpi.data.sources.keys` knows."""
    name = request.name
    try:
        with zipfile.ZipFile(name) as archive:
            members = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
            x_key, y_key = keys_of(name, members, request.targets, "save it with numpy.savez(file, X=…, y=…)")
            with opened(archive, x_key) as (_, header):
                size, features, image, dtype = layout_of(name, header.shape, header.dtype, x_key)
            y = None
            if y_key:
                with opened(archive, y_key) as (file, of_y):
                    check_y(name, of_y.shape, of_y.dtype, size, y_key)
                    y = checked_y(name, read_whole(file, of_y), size, y_key)
            weights, weight_key = None, request.columns.weight or WEIGHTS
            if weight_key in members:
                with opened(archive, weight_key) as (file, of_weights):
                    weights = checked_weights(name, read_whole(file, of_weights), size, weight_key)
    except DAMAGE as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    def read(indices: Indices, out: npt.NDArray[Any]) -> None:
        try:
            with zipfile.ZipFile(name) as archive, opened(archive, x_key) as (file, now):
                if now != header:
                    raise ValueError("it has changed")
                read_rows(file, header, indices, out, seek=False)
        except DAMAGE as error:
            raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    return Source(name, read, size, features, y, image, dtype, (name,), weights=weights)
