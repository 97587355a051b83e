"""Runs nnmpi's command line, each command in a fork of this process, which has imported everything that commands need.

A command on one rank then takes a tenth of a second instead of two seconds. Each command still has its own process, in
which MPI starts and ends. Requests are read as lines of JSON; exit statuses are written as lines.
"""

import importlib
import json
import os
import signal
import sys
import traceback
import warnings

IMPORTED = (
    *("mpi4py.MPI", "scipy.ndimage", "sklearn.datasets", "sklearn.model_selection"),
    *("nnmpi.commands.apply", "nnmpi.commands.info", "nnmpi.commands.train", "nnmpi.report.page"),
)


def serve() -> None:
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    for module in IMPORTED:
        importlib.import_module(module)
    warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(**request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run(arguments: list[str], cwd: str, env: dict[str, str], out: str, err: str, seconds: int) -> None:
    from nnmpi.cli import main

    signal.alarm(seconds)  # ends this process if the command hangs
    os.chdir(cwd)
    os.environ.update(env)
    for number, name in enumerate((os.devnull, out, err)):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    status = 1
    try:
        main(arguments)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at once: a normal exit of Python, with all these imports, takes longer than most commands


if __name__ == "__main__":
    serve()
