"""The command ``export``: write a model as a file for ONNX or scikit-learn."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nnmpi.arrays import Indices
from nnmpi.data.sources import Source
from nnmpi.data.table import Encoding
from nnmpi.errors import InputError, RunError
from nnmpi.export import check_format, check_needed, exported
from nnmpi.export.check import Raw, difference, runner
from nnmpi.export.describe import description
from nnmpi.export.raw_columns import raw_columns
from nnmpi.files.atomic import write_whole
from nnmpi.files.model import Model, read_model
from nnmpi.files.output_file import cannot_be_written, check_out
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.launcher import launched
from nnmpi.mpi.world import World
from nnmpi.nn.predict import in_float64
from nnmpi.text import counted, printable
from nnmpi.training.model_data import part_of
from nnmpi.training.scoring import outputs_of

ALLOWED = 1e-6  # largest difference of probabilities, or of numbers in standard deviations of the target
ROWS = 1 << 14  # rows checked at once


def export_model(path: Path, out: Path, check: bool, data: str | None, overwrite: bool) -> None:
    """Write the model at `path` to `out`, on rank 0; the other ranks do nothing.

    With `check` the predictions of the exported model for the test part are first compared with those of nnmpi. `data`
    is where the data of the training are now, None if they have not moved.

    Raises
    ------
    InputError
        If the model cannot be read, the extra is missing, or `out` cannot be written.
    RunError
        If the predictions differ. `out` is then not written.
    """
    if launched()[2] > 0:
        return
    check_format(out)
    check_out(out, str(out))
    if out.exists() and not overwrite:
        raise InputError(f"{out} already exists; replace it with --overwrite, or choose another name")
    model = read_model(path)
    check_needed(out, model, check)
    content = exported(model, out.suffix)
    if check:
        _check(model, content, out, data)
    try:
        write_whole(out, content, sync=False)
    except OSError as error:
        raise cannot_be_written(str(out), error) from None
    print(f"{printable(str(out))} written, {len(content):,} bytes")
    for line in description(model, out.suffix):
        print(printable(line))


def _check(model: Model, content: bytes, out: Path, data: str | None) -> None:
    source, part = part_of(model, "test", data, World(Alone()))
    outputs, codes = outputs_of(in_float64(model.architecture, model.parameters), part, model.targets)
    predict = runner(content, out.suffix, model)
    largest = 0.0
    for positions, raw in _raw_rows(model, source, part.rows):
        largest_of_block = difference(model, predict(raw), outputs[positions], codes[positions])
        largest = float(np.maximum(largest, largest_of_block))
    unit = " standard deviations of the target" if model.targets.task == "regression" else ""
    result = f"largest difference {largest:.1e}{unit} on {counted(len(outputs), 'row')} of the test part"
    if not largest <= ALLOWED:
        raise RunError(f"{out}: not written: {result} of {source.name}; allowed is {ALLOWED}")
    print(f"{result} of {printable(source.name)}; allowed is {ALLOWED}")


def _raw_rows(model: Model, source: Source, rows: Indices) -> Iterator[tuple[Indices, Raw]]:
    """Yield blocks of `rows` as the user has them, before scaling and encoding, with their positions in `rows`."""
    ascending = np.argsort(rows, kind="stable")
    for start in range(0, len(rows), ROWS):
        positions = ascending[start : start + ROWS]
        numbers = np.empty((len(positions), source.features), source.dtype)
        source.read(rows[positions].astype(np.intp), numbers)
        if isinstance(model.scaler, Encoding):
            yield positions, raw_columns(model.scaler, numbers.astype(np.float64, copy=False), source.texts)
        else:
            yield positions, numbers
