"""Where samples come from: one module a format, each with a function ``open_source(name, targets, trusted)``."""

import importlib
import os

from nnmpi.data.sources.source import Source
from nnmpi.errors import InputError

__all__ = ["SOURCES", "Source", "open_source", "sources_text"]

# how a source is written (a name, a prefix up to its colon, or the end of a file's name) → the module that opens it
SOURCES = {
    "digits": "built_in",
    "iris": "built_in",
    "wine": "built_in",
    "breast_cancer": "built_in",
    "diabetes": "built_in",
    "random:ROWSxFEATURESxCLASSES": "synthetic",
    ".npz": "npz",
}
SUFFIXES = tuple(form for form in SOURCES if form.startswith("."))


def sources_text() -> str:
    """All that ``--data`` may be, for help and errors."""
    return f"{', '.join(form for form in SOURCES if form not in SUFFIXES)}, or a file that ends in {_listed()}"


def open_source(name: str, targets: bool = True, trusted: bool = True) -> Source:
    """The source called `name` (see ``--data``); without `targets` a file may lack ``y``.

    A name that no user gave, but a file, is not `trusted`: it cannot ask for much memory with a few characters.

    Raises
    ------
    InputError
        If there is no such source or file, or it cannot be used.
    """
    form = _form(name)
    if form in SUFFIXES or (form is None and "/" in name):
        if not os.path.exists(name):
            raise InputError(f"--data {name}: no such file")
        if form is None or not os.path.isfile(name):  # to read a pipe or a device may never end
            raise InputError(f"--data {name}: not a file that ends in {_listed()}")
    if form is None:
        raise InputError(f"--data {name}: unknown; allowed are {sources_text()}")
    module = importlib.import_module(f"{__name__}.{SOURCES[form]}")
    source: Source = module.open_source(name, targets, trusted)
    return source


def _form(name: str) -> str | None:
    for form in SOURCES:
        prefix, colon, _ = form.partition(":")
        if name.startswith(prefix + colon) if colon else name.endswith(form) if form in SUFFIXES else name == form:
            return form
    return None


def _listed() -> str:
    return ", ".join(SUFFIXES[:-1]) + " or " * (len(SUFFIXES) > 1) + SUFFIXES[-1]
