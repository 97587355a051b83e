"""Files that a user names for the output of a command; one that cannot be written is refused before any work."""

from collections.abc import Iterable
from pathlib import Path

from nnmpi.errors import InputError
from nnmpi.files.atomic import check_replaceable, check_writable
from nnmpi.files.run_directory import FILES


def check_out(out: Path, name: str) -> None:
    """Check that `out` can be written in an existing directory. Errors begin with `name`.

    Raises
    ------
    InputError
        If it cannot.
    """
    try:
        check_replaceable(out)
        if not out.parent.is_dir():
            raise NotADirectoryError(0, f"{out.parent} is not a directory")
    except OSError as error:
        raise cannot_be_written(name, error) from None


def check_file(path: Path, name: str) -> None:
    """Check that `path` can be written; its directory is created. Errors begin with `name`.

    Raises
    ------
    InputError
        If it cannot.
    """
    try:
        check_writable(path)
    except OSError as error:
        raise cannot_be_written(name, error) from None


def check_replaces_no_input(out: Path, inputs: Iterable[str | None], name: str) -> None:
    """Check that `out` is none of the `inputs`, which are names or paths of data, and no file of a run.

    Raises
    ------
    InputError
        If it is; the message begins with `name`.
    """
    if out.name in FILES:
        raise InputError(f"{name}: {out.name} is the name of a file of a run; choose another file")
    place = out.parent.resolve() / out.name  # a link there is replaced, not followed
    for path in map(Path, filter(None, inputs)):
        among_the_data = path.is_dir() and out.exists() and place.parent == path.resolve()
        if place in (path.resolve(), path.parent.resolve() / path.name) or among_the_data:
            raise InputError(f"{name}: would replace the data in {path}; choose another file")


def cannot_be_written(name: str, error: OSError) -> InputError:
    """Return the error for the file `name`."""
    return InputError(f"{name}: cannot be written ({error.strerror}); choose another file")
