"""Write the page of a report to a file."""

from importlib.util import find_spec
from pathlib import Path

from nnmpi.config import Config
from nnmpi.errors import InputError
from nnmpi.files.atomic import check_replaceable, check_writable, write_whole
from nnmpi.files.output_file import cannot_be_written, check_replaces_no_input
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.world import World
from nnmpi.report.loggers import check_loggers

NEEDED = {"jinja2": "Jinja2", "matplotlib": "Matplotlib"}


def check_extras(config: Config, world: World) -> None:
    """Check before training begins that the libraries for ``--log`` and ``--report`` are there. All ranks take part.

    Raises
    ------
    InputError
        On all ranks, if a library is missing on rank 0.
    """
    with world.together():
        if world.rank == 0:
            check_loggers(config.log)
            if config.report:
                check_report()


def check_report() -> None:
    """Refuse to go on if a library that the report needs is missing.

    Raises
    ------
    InputError
        If the extra ``report`` is not installed.
    """
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise InputError(f"a report needs {' and '.join(missing)}: pip install 'nnmpi[report]'")


def write_report(directories: list[Path], out: Path | None = None) -> Path:
    """Write the page of the runs in `directories` to `out`, in this process alone, and return its path.

    The default of `out` is ``report.html``, in the directory of a single run, or in the working directory for several.

    Raises
    ------
    InputError
        If the extra is missing, a run cannot be read, or the file cannot be written.
    """
    check_report()
    path = out or (directories[0] / "report.html" if len(directories) == 1 else Path("report.html"))
    name = f"--out {out}" if out else str(path)
    check_replaces_no_input(path, (), name)
    try:
        (check_writable if out else check_replaceable)(path)  # never creates the directory of a run
    except OSError as error:
        raise cannot_be_written(name, error) from None
    from nnmpi.report.page import run_page, runs_page  # these need the extra

    text = run_page(directories[0], World(Alone())) if len(directories) == 1 else runs_page(directories)
    try:
        write_whole(path, text.encode("utf-8", "backslashreplace"), sync=False)
    except OSError as error:
        raise cannot_be_written(name, error) from None
    return path
