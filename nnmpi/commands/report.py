"""The command ``report``: write a page about one run or several."""

from pathlib import Path

from nnmpi.mpi.launcher import launched
from nnmpi.report.write import write_report
from nnmpi.text import printable


def report(directories: list[Path], out: Path | None) -> None:
    """Write the page of the runs in `directories` on rank 0; the other ranks do nothing. See `write_report`.

    Raises
    ------
    InputError
        If the extra is missing, a run cannot be read, or `out` cannot be written.
    """
    if launched()[2] > 0:
        return
    path = write_report(directories, out)
    print(f"report written to {printable(str(path))}", flush=True)
