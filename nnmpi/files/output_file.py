"""Files that a user names for the output of a command; one that cannot be written is refused before any work."""

from pathlib import Path

from nnmpi.errors import InputError
from nnmpi.files.atomic import check_replaceable, check_writable


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


def cannot_be_written(name: str, error: OSError) -> InputError:
    """Return the error for the file `name`."""
    return InputError(f"{name}: cannot be written ({error.strerror}); choose another file")
