"""Lines for the user of an exported file: its inputs, and what it needs."""

from nnmpi.data.table import Encoding
from nnmpi.files.model import Model
from nnmpi.text import listed

SHOWN = 20  # columns that a line names


def description(model: Model, suffix: str) -> list[str]:
    """Return a line for each kind of input, and one for nnmpi if loading the file needs it."""
    encoding = model.scaler
    if not isinstance(encoding, Encoding):
        text = "input X: float64 numbers" if suffix == ".onnx" else "input: an array of numbers"
        return [f"{text}, shape (rows, {len(encoding.mean)})"]
    columns = list(dict.fromkeys((column.name, column.kind, bool(column.part)) for column in encoding.columns))
    dates = [name for name, _, is_date in columns if is_date]
    if suffix != ".onnx":
        lines = [f"input: a pandas frame with the columns {listed([name for name, _, _ in columns], SHOWN)}"]
        if dates:
            lines.append(f"loading it needs nnmpi, for the dates in {listed(dates, SHOWN)}")
        return lines
    numbers = [name for name, kind, is_date in columns if kind != "text" and not is_date]
    texts = [name for name, kind, _ in columns if kind == "text"]
    names_by_type = {
        "float64, NaN where missing": numbers,
        "text, empty where missing": texts,
        "dates as int64 microseconds since 1970-01-01 00:00": dates,
    }
    return [
        f"inputs, shape (rows, 1), {dtype}: {listed(names, SHOWN)}" for dtype, names in names_by_type.items() if names
    ]
