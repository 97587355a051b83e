"""``random:ROWSxFEATURESxCLASSES``: samples generated on the fly, for measurements."""

import re

import numpy as np

from nnmpi.arrays import Array, Indices
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.sources.source import Request, Source, in_pieces
from nnmpi.errors import InputError
from nnmpi.memory import check_memory

ROWS_AT_ONCE = 4096  # of a block; never change it: the numbers depend on it
MOST_UNTRUSTED = 10**8  # numbers generated because a file asks for them


def open_source(request: Request) -> Source:
    """Open samples of classes in turn, each class a cloud around its own centre.

    Rows are generated in blocks of `ROWS_AT_ONCE`, each with its own random stream, so that any row can be generated
    without keeping the others.
    """
    name = request.name
    match = re.fullmatch(r"random:(\d{1,12})x(\d{1,9})x(\d{1,9})", name)
    size, features, classes = map(int, match.groups()) if match else (0, 0, 0)
    if features < 1 or classes < 2 or size < classes:
        raise InputError(
            f"--data {name}: write random:ROWSxFEATURESxCLASSES in whole numbers, "
            "with at least 1 feature, 2 classes and as many rows as classes"
        )
    if not request.trusted and size * features + 8 * size + classes * features > MOST_UNTRUSTED:
        raise InputError(
            f"--data {name}: refusing to generate {size * features:.0e} numbers because a model file asks "
            "for it; pass --data yourself"
        )
    check_memory(32 * size + 4 * (classes + 2 * ROWS_AT_ONCE) * features, f"--data {name}")
    y = np.resize(np.arange(classes, dtype=np.int32), size)

    def read(indices: Indices, out: Array) -> None:
        centres = stream(0, Purpose.SYNTHETIC).random((classes, features), np.float32)
        for start, _, positions in in_pieces(indices, size, ROWS_AT_ONCE):
            cloud = stream(0, Purpose.SYNTHETIC, epoch=1, step=start)
            noise = cloud.random((ROWS_AT_ONCE, features), np.float32)
            rows = indices[positions]
            out[positions] = noise[rows - start] + centres[y[rows]]

    return Source(name, read, size, features, y, dtype=np.dtype(np.float32))
