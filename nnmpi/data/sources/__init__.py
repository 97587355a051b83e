"""Sources of samples: one module per format, each with a function `open_source` that takes a `Request`."""

import importlib
import os

from nnmpi.data.columns import Column
from nnmpi.data.sources.source import NO_COLUMNS, Columns, Request, Source
from nnmpi.errors import InputError

__all__ = ["NO_COLUMNS", "SOURCES", "Columns", "Request", "Source", "open_source", "sources_text"]

# form of --data (a name, a prefix that ends in a colon, or a file suffix) → the module that opens it
SOURCES = {
    "digits": "built_in",
    "iris": "built_in",
    "wine": "built_in",
    "breast_cancer": "built_in",
    "diabetes": "built_in",
    "random:ROWSxFEATURESxCLASSES": "synthetic",
    ".npz": "npz",
    ".npy": "npy",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".svm": "libsvm",
    ".libsvm": "libsvm",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
    ".parquet": "parquet",
    "-ubyte": "idx",
    "-ubyte.gz": "idx",
    ".ubyte": "idx",
    ".ubyte.gz": "idx",
}
SUFFIXES = tuple(form for form in SOURCES if form[0] in ".-")
IN_DIRECTORIES = ("npy", "csv", "parquet")  # modules that can also read a directory of files
TABLES = ("csv", "parquet")  # modules whose sources have named columns


def sources_text() -> str:
    """Return all forms of ``--data``, for help and errors."""
    return f"{', '.join(form for form in SOURCES if form not in SUFFIXES)}, or a file that ends in {_listed()}"


def open_source(
    name: str,
    targets: bool = True,
    trusted: bool = True,
    columns: Columns = NO_COLUMNS,
    known: tuple[Column, ...] | None = None,
    features: int | None = None,
    first_index: int | None = None,
) -> Source:
    """Open the source `name` (see ``--data``); the other parameters are those of `Request`.

    A name that comes from a file instead of a user is not `trusted`: a few characters must not claim much memory.

    Raises
    ------
    InputError
        If the source or file does not exist or cannot be used.
    """
    request = Request(name, targets, trusted, columns, known, features, first_index)
    path = request.path
    if path != name and _module_for(path) != "hdf5":
        raise InputError(f"--data {name}: only HDF5 files have datasets that are named behind ::")
    is_directory = os.path.isdir(path) and path not in SOURCES  # `./iris` is the directory, `iris` the built-in data
    module = _module_for_directory(path) if is_directory else _module_for(path)
    is_path = "/" in path or any(path.endswith(suffix) for suffix in SUFFIXES)
    if is_path and not os.path.exists(path):
        raise InputError(f"--data {name}: no such file")
    if is_path and (module is None or not (os.path.isfile(path) or os.path.isdir(path))):  # a pipe may never end
        raise InputError(f"--data {name}: not a file that ends in {_listed()}")
    if module is None:
        raise InputError(f"--data {name}: unknown; allowed are {sources_text()}")
    if module not in TABLES and known is not None:
        check_plain(name, known)
    elif module not in TABLES and (columns.target or columns.drop or columns.categories):
        raise InputError(f"--data {name}: --target, --drop and --categories are for tables: CSV and Parquet files")
    source: Source = importlib.import_module(f"{__name__}.{module}").open_source(request)
    if columns.weight and columns.needs_weight and source.weights is None:
        raise InputError(
            f"--data {name}: --sample-weight {columns.weight}: not found; weights are a column of a table or an array "
            "of an .npz file"
        )
    return source


def check_plain(name: str, columns: tuple[Column, ...]) -> None:
    """Refuse arrays for a model that was trained on a table with categories or dates.

    If all columns are numbers, arrays with the columns in the same order are allowed.

    Raises
    ------
    InputError
        If a column holds categories or dates; it names the columns.
    """
    if not all(column.kind == "number" and not column.part for column in columns):
        names = ", ".join(dict.fromkeys(column.name for column in columns))
        raise InputError(
            f"--data {name}: the model was trained on a table with the columns {names}: pass a table with these columns"
        )


def _module_for(path: str) -> str | None:
    for form, module in SOURCES.items():
        prefix, colon, _ = form.partition(":")
        if path.startswith(prefix + colon) if colon else path.endswith(form) if form in SUFFIXES else path == form:
            return module
    return None


def _module_for_directory(name: str) -> str:
    """Return the module that reads the files in the directory: all must have one of the formats in `IN_DIRECTORIES`."""
    entries = list(os.scandir(name))
    partitions = [entry.name for entry in entries if entry.is_dir() and "=" in entry.name]
    if partitions:
        raise InputError(
            f"--data {name}: has partitions such as {min(partitions)}, and directories in a directory are not read: "
            f"write one file, for example with pandas.read_parquet({name!r}).to_parquet('table.parquet')"
        )
    files = [entry.name for entry in entries if entry.is_file()]
    modules = {module for module in map(_module_for, files) if module in IN_DIRECTORIES}
    if len(modules) != 1:
        suffixes = ", ".join(form for form, module in SOURCES.items() if module in IN_DIRECTORIES)
        problem = f"files of several formats ({', '.join(sorted(modules))})" if modules else "no such files"
        raise InputError(
            f"--data {name}: a directory must hold files of one of the formats {suffixes}; this one has {problem}"
        )
    return modules.pop()


def _listed() -> str:
    return ", ".join(SUFFIXES[:-1]) + " or " + SUFFIXES[-1]
