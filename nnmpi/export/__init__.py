"""A trained network as a file for other programs: an ONNX graph, or a fitted scikit-learn pipeline.

The file takes raw rows and predicts in the units of the targets. It includes the scaler of the features, or the
encoding of a table, and the scaler of the targets.
"""

from pathlib import Path

from nnmpi.data.sources.extras import needed
from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.files.model import Model

# suffix → the modules that writing needs, the modules that only a check needs, and the extra that installs both
FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    ".onnx": (("onnx",), ("onnxruntime",), "onnx"),
    ".skops": (("skops.io",), (), "skops"),
    ".joblib": ((), (), "skops"),
}


def check_format(path: Path) -> None:
    """Refuse a file whose suffix is not one of `FORMATS`.

    Raises
    ------
    InputError
    """
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: allowed are files that end in {', '.join(FORMATS)}")


def check_needed(path: Path, model: Model, check: bool = False) -> None:
    """Refuse to write the file at `path`, or to check it, if a module that this needs is missing.

    Raises
    ------
    InputError
        With the name of the extra to install.
    """
    writing, checking, extra = FORMATS[path.suffix]
    for_tables = ("pandas",) if path.suffix != ".onnx" and isinstance(model.scaler, Encoding) else ()
    for module in (*writing, *for_tables, *(checking if check else ())):
        needed(module, extra, f"--check of {path}" if module in checking else str(path))


def exported(model: Model, suffix: str) -> bytes:
    """Return the bytes of the file for `model`; `suffix`, one of `FORMATS`, is the format.

    Raises
    ------
    InputError
        If the format cannot hold the model.
    """
    if suffix == ".onnx":
        from nnmpi.export.onnx import serialized as to_onnx

        return to_onnx(model)
    from nnmpi.export.pipeline import serialized as to_pipeline

    return to_pipeline(model, suffix)
