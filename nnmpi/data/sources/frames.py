"""Frames in memory: pandas, Polars, and others that export their columns to Arrow."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.sources.arrays import checked_weights, checked_y, without_objects
from nnmpi.data.sources.extras import needed
from nnmpi.data.sources.source import Request, Source


def is_frame(data: Any) -> bool:
    """Whether `data` is a frame: of pandas from 2.2 on, of Polars, or an Arrow table."""
    return hasattr(data, "__arrow_c_stream__")


def frame_source(
    frame: Any, request: Request, y: npt.ArrayLike | None = None, weights: npt.ArrayLike | None = None
) -> Source:
    """Return the source of the rows of `frame`. Targets and weights are `y` and `weights`, or columns of the frame."""
    pa = needed("pyarrow", "tables", request.name)
    from nnmpi.data.sources.arrow import table_source
    from nnmpi.data.sources.arrow_table import Table

    data = pa.table(frame)

    def batches(columns: list[str], first: int, stop: int) -> Iterator[tuple[int, Any]]:
        row = first
        for batch in data.select(columns).slice(first, stop - first).to_batches():
            yield row, batch
            row += len(batch)

    table = Table(request.name, len(data), dict(zip(data.schema.names, data.schema.types, strict=True)), batches)
    source = table_source(table, request if y is None else dataclasses.replace(request, targets=False))
    if weights is not None:
        checked = checked_weights(request.name, np.asarray(weights), source.size, "sample_weight")
        source = dataclasses.replace(source, weights=checked)
    if y is None:
        return source
    return dataclasses.replace(source, y=checked_y(request.name, without_objects(y), source.size))
