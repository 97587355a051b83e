"""A trained network as a file that other programs run: an ONNX graph, or a fitted scikit-learn pipeline.

The scaler of the features, or the encoding of a table, is inside, and so are the units of the targets: raw rows go in.
"""

import importlib
from pathlib import Path

from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.files.model import Model

# suffix → the modules that writing needs, those that only a check needs, and the extra that brings both
FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    ".onnx": (("onnx",), ("onnxruntime",), "onnx"),
    ".skops": (("skops.io",), (), "skops"),
    ".joblib": ((), (), "skops"),
}


def check_format(path: Path) -> None:
    """Refuse a file whose name ends in none of `FORMATS`.

    Raises
    ------
    InputError
    """
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: allowed are files that end in {', '.join(FORMATS)}")


def check_needed(path: Path, model: Model, check: bool = False) -> None:
    """Refuse to write the file at `path`, or to check it, without the modules that this needs.

    Raises
    ------
    InputError
        That names the extra.
    """
    writing, checking, extra = FORMATS[path.suffix]
    frames = ("pandas",) if path.suffix != ".onnx" and isinstance(model.scaler, Encoding) else ()
    for module in (*writing, *frames, *(checking if check else ())):
        try:
            importlib.import_module(module)
        except ImportError as error:
            what = f"--check of {path}" if module in checking else str(path)
            raise InputError(
                f"{what} needs {module.partition('.')[0]}, which cannot be imported ({error}): "
                f"pip install 'nnmpi[{extra}]'"
            ) from None


def exported(model: Model, suffix: str) -> bytes:
    """The bytes of the file of `model` in the format of this `suffix`, one of `FORMATS`.

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
