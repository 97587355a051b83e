"""Imports of libraries that only some formats need."""

import importlib
from typing import Any

from nnmpi.errors import InputError


def needed(module: str, extra: str, name: str) -> Any:
    """Import and return the `module` that the source `name` needs.

    Raises
    ------
    InputError
        If the import fails; it names the `extra` that installs the module.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"--data {name}: needs {module.partition('.')[0]}, which cannot be imported ({error}): "
            f"pip install 'nnmpi[{extra}]'"
        ) from None
