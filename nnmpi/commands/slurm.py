"""The command ``slurm``: print a job script."""

import os
from pathlib import Path

from nnmpi.config import Config
from nnmpi.errors import InputError
from nnmpi.files.run_directory import default_directory
from nnmpi.launching.find_mpiexec import find_launcher
from nnmpi.launching.mpiexec_command import program
from nnmpi.launching.slurm import ARRAY_INDEX, SlurmJob, quoted, script

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

    words, output = _split(command)
    train = quoted(*words, array=job.array)
    if not config.resume:
        train += " --resume"
    if config.threads is None and not config.deterministic:  # --deterministic: one thread, bits depend on it
        train += ' --threads "$SLURM_CPUS_PER_TASK"'
    # the directory stays the same when the job is queued again, and no other job uses it
    output = output or config.output
    if output is None:
        directory = quoted(f"{default_directory(config.data)}-") + '"$SLURM_JOB_ID"'
    else:
        directory = quoted(output, array=job.array)
        if job.array and ARRAY_INDEX not in output:
            directory += '/"$SLURM_ARRAY_TASK_ID"'
    print(script(job, quoted(*program(), "launch"), train, directory, modules), end="")


def _split(words: tuple[str, ...]) -> tuple[list[str], str | None]:
    """Return the words without ``--output DIR`` and ``--output=DIR``, and the last such DIR."""
    kept, output = [], None
    remaining = iter(words)
    for word in remaining:
        if word == "--output":
            output = next(remaining)
        elif word.startswith("--output="):
            output = word.partition("=")[2]
        else:
            kept.append(word)
    return kept, output
