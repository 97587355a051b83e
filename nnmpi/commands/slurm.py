"""The command ``slurm``: print a job script."""

import os
from pathlib import Path

from nnmpi.config import Config
from nnmpi.errors import InputError
from nnmpi.files.run_directory import default_directory
from nnmpi.launching.find_mpiexec import find_launcher
from nnmpi.launching.mpiexec_command import program
from nnmpi.launching.slurm import SlurmJob, quoted, script

MPIS = {"openmpi": "Open MPI", "mpich": "MPICH", "intelmpi": "Intel MPI"}


def write_script(job: SlurmJob, mpi: str, config: Config, command: tuple[str, ...]) -> None:
    """Print a script for `job` that runs the ``train`` command line `command`, whose settings are `config`.

    Raises
    ------
    InputError
        If the launcher at hand is not of `mpi`.
    """
    launcher = find_launcher()
    if MPIS.get(mpi, launcher.mpi) != launcher.mpi:
        raise InputError(
            f"--mpi {mpi}: the launcher at hand is {launcher}; run nnmpi slurm in an environment with {MPIS[mpi]}, "
            "or leave out --mpi"
        )
    # a launcher beside nnmpi's Python is from a wheel and needs no modules; else the script loads those loaded now
    own = Path(launcher.path).parent == Path(program()[0]).parent
    modules = "" if own else os.environ.get("LOADEDMODULES", "").replace(":", " ")

    train = quoted(*_without_output(command))
    if not config.resume:
        train += " --resume"
    if config.threads is None and not config.deterministic:  # --deterministic: one thread, bits depend on it
        train += ' --threads "$SLURM_CPUS_PER_TASK"'
    # the directory stays the same when the job is queued again, and no other job uses it
    output = quoted(f"{config.output or default_directory(config.data)}") + (
        '/"$SLURM_ARRAY_TASK_ID"' if job.array else ""
    )
    if config.output is None:
        output = quoted(f"{default_directory(config.data)}-") + '"$SLURM_JOB_ID"'
    print(script(job, quoted(*program(), "launch"), train, output, modules), end="")


def _without_output(words: tuple[str, ...]) -> list[str]:
    """Return the words without ``--output DIR`` and ``--output=DIR``."""
    kept = []
    remaining = iter(words)
    for word in remaining:
        if word == "--output":
            next(remaining)
        elif not word.startswith("--output="):
            kept.append(word)
    return kept
