"""The error that ends a run whose files can no longer be written: what is the case, and how to continue."""

import errno
from pathlib import Path

from nnmpi.errors import RunError

REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount the file system for writing",
    errno.EACCES: "allow this user to write there",
    errno.EPERM: "allow this user to write there",
}


def write_error(directory: Path, error: OSError, what: str) -> RunError:
    """Return the error that `what`, in `directory`, cannot be written any more."""
    if not directory.is_dir():
        return removed(directory)
    remedy = f"{REMEDIES[error.errno]} and " if error.errno in REMEDIES else ""
    return RunError(f"{what} ({error.strerror}); what was written before is kept: {remedy}continue with --resume")


def removed(directory: Path) -> RunError:
    """Return the error that `directory`, or a parent, is no longer there."""
    outermost = [place for place in (directory, *directory.parents) if not place.is_dir()][-1]
    return RunError(
        f"{outermost} was removed or renamed during the run: give it its name back and continue with --resume, or "
        "start a new run"
    )
