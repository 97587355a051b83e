"""Imports of libraries that only some files need."""

import importlib
from typing import Any

from nnmpi.errors import InputError


def needed(module: str, extra: str, subject: str) -> Any:
    """Import and return the `module` that `subject` needs.

    Raises
    ------
    InputError
        If the import fails; it names the `extra` that installs the module.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{subject} needs {module.partition('.')[0]}, which cannot be imported ({error}): "
            f"pip install 'nnmpi[{extra}]'"
        ) from None
