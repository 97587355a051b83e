"""Libraries that only some formats need."""

import importlib
from typing import Any

from nnmpi.errors import InputError


def needed(module: str, extra: str, name: str) -> Any:
    """The `module`, without which the source called `name` cannot be read.

    Raises
    ------
    InputError
        If it is not installed; it names the `extra` that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"--data {name}: needs {module.partition('.')[0]}, which cannot be imported ({error}): "
            f"pip install 'nnmpi[{extra}]'"
        ) from None
