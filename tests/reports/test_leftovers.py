# From open-mpi/ompi 7164, Lightning-AI/pytorch-lightning 20776 (variables), open-mpi/ompi 12784 (temporary files).
"""Variables left over from a launcher do no harm. A command without a launcher leaves no temporary files."""

import os
import sys
from pathlib import Path

import pytest
from jobs import CommandServer, Environment, needed, run

NNMPI = str(Path(sys.executable).with_name("nnmpi"))
TRAIN = ("train", "--data", "iris", "--epochs", "1", "--output", "run")

LEFT_OVER = {
    "rank 3 of an mpirun that has ended": {
        "OMPI_COMM_WORLD_SIZE": "8",
        "OMPI_COMM_WORLD_RANK": "3",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "8",
        "OMPI_MCA_mpi_ft_enable": "1",
        "PMIX_NAMESPACE": "prterun-host-1@1",
        "PMIX_RANK": "3",
        "PMIX_SERVER_URI41": "prterun-host-1@0.0;tcp4://127.0.0.1:9",
        "PMIX_SERVER_TMPDIR": "/tmp/ompi.1",
    },
    "Open MPI's numbers alone": {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
    "Hydra's": {"PMI_SIZE": "4", "PMI_RANK": "2", "PMI_FD": "9", "MPI_LOCALNRANKS": "4", "MPI_LOCALRANKID": "2"},
    "empty ones": {"PMI_SIZE": "2", "PMI_RANK": "", "PMI_FD": "", "OMPI_COMM_WORLD_SIZE": "", "SLURM_PROCID": ""},
    "srun --mpi=pmix, one task": {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "PMIX_RANK": "0",
        "PMIX_SERVER_URI2": "slurm.pmix.7.0;tcp4://127.0.0.1:9",
    },
    "a batch script with one task": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
}


@pytest.mark.parametrize("case", LEFT_OVER)
@pytest.mark.parametrize("library", ["openmpi", "mpich"])
def test_training_runs_as_one_rank(library: str, case: str, tmp_path: Path) -> None:
    done = run([needed(library).program("nnmpi"), *TRAIN], tmp_path, **LEFT_OVER[case]).succeeded()
    assert done.out.splitlines()[-1].startswith("test accuracy")
    assert done.err == ""


@pytest.mark.parametrize("case", LEFT_OVER)
def test_bad_input_is_never_silent(nnmpi: CommandServer, case: str, tmp_path: Path) -> None:
    done = nnmpi("train", "--epochs", "x", cwd=tmp_path, **LEFT_OVER[case])
    assert done.status == 2
    assert "--epochs" in done.err


ALLOCATED = {
    "salloc": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"},
    "sbatch": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "16", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    "shell of task 2": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "2"},
    "interactive step": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "4294967290"},
    "task 2 of a step": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_STEP_ID": "0"},
}


@pytest.mark.parametrize("case", ALLOCATED)
def test_training_on_one_of_several_tasks_names_the_variable(nnmpi: CommandServer, case: str, tmp_path: Path) -> None:
    done = nnmpi(*TRAIN, cwd=tmp_path, **ALLOCATED[case])
    assert done.status == 2
    (message,) = [line for line in done.err.splitlines() if line.startswith("nnmpi:")]
    assert f"{ALLOCATED[case]['SLURM_NTASKS']} " in message
    assert "srun" in message
    assert "unset SLURM_" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("case", ALLOCATED)
def test_models_are_used_and_jobs_launched_in_an_allocation(nnmpi: CommandServer, case: str, tmp_path: Path) -> None:
    nnmpi(*TRAIN, cwd=tmp_path).succeeded()
    assert "accuracy" in nnmpi("evaluate", "run", cwd=tmp_path, **ALLOCATED[case]).succeeded().out
    if case != "task 2 of a step":
        nnmpi("launch", "-n", "2", "--dry-run", "info", cwd=tmp_path, **ALLOCATED[case]).succeeded()


WITHOUT_MPI = {
    "torchrun": {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4"},
    "horovodrun": {"HOROVOD_RANK": "0", "HOROVOD_SIZE": "4"},
}


@pytest.mark.parametrize("launcher", WITHOUT_MPI)
def test_processes_of_other_launchers_do_not_train_alone(nnmpi: CommandServer, launcher: str, tmp_path: Path) -> None:
    done = nnmpi(*TRAIN, cwd=tmp_path, **WITHOUT_MPI[launcher])
    assert done.status == 2
    (message,) = done.messages
    assert message.startswith(f"nnmpi: {launcher} started 4 processes without MPI")
    assert "nnmpi launch -n 4 -- train" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.mpi
@pytest.mark.parametrize("case", [name for name in LEFT_OVER if not name.startswith("srun")])
@pytest.mark.in_turn
def test_nnmpi_launch_ignores_what_is_left(mpi: Environment, case: str, tmp_path: Path) -> None:
    done = run([mpi.program("nnmpi"), "launch", "-n", "2", "--", *TRAIN], tmp_path, timeout=120, **LEFT_OVER[case])
    done.succeeded()
    assert '"world_size": 2' in (tmp_path / "run/config.json").read_text()


ANSWERS = {
    "ended": ("exit 0", "Slurm job 7 are set, but it has ended"),
    "forgotten": ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "but it has ended"),
    "none": ("exit 1", "if Slurm job 7 has ended, run `unset"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_allocation_of_a_slurm_job_that_has_ended(case: str, tmp_path: Path) -> None:
    """The shell of salloc keeps the variables when the job's time is over."""
    answer, text = ANSWERS[case]
    for name, script in {"squeue": answer, "ssh": "exit 1", "srun": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    job = {**HOSTS, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [needed("openmpi").program("nnmpi"), "launch", "-n", "2", "--", *TRAIN]
    done = run(command, tmp_path, timeout=120, **{name: job[name] for name in job if not name.startswith("PBS_")})
    assert done.status == 2 or case == "none"
    assert text in done.messages[-1]


FIT = """
from sklearn.datasets import load_iris
from nnmpi import MLPClassifier
X, y = load_iris(return_X_y=True)
print(len(MLPClassifier(8, max_iter=2, tol=0, n_iter_no_change=9, n_jobs=2).fit(X, y).loss_curve_))
"""
HOSTS = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOBID": "7",
    "SLURM_NODELIST": "node[01-02]",
    "SLURM_JOB_NODELIST": "node[01-02]",
    "SLURM_TASKS_PER_NODE": "1(x2)",
    "SLURM_JOB_CPUS_PER_NODE": "1(x2)",
    "SLURM_NNODES": "2",
    "SLURM_CPUS_PER_TASK": "",
    "PBS_JOBID": "9",
    "PBS_ENVIRONMENT": "PBS_BATCH",
    "PBS_NODEFILE": "hosts",
}


@pytest.mark.mpi
@pytest.mark.in_turn
def test_n_jobs_starts_its_ranks_on_this_host_whatever_was_allocated(mpi: Environment, tmp_path: Path) -> None:
    scratch = tmp_path / ("scratch" * 15)  # longer than the name of a socket may be
    scratch.mkdir()
    (tmp_path / "hosts").write_text("node01\nnode02\n")
    command = [mpi.program("python"), "-W", "ignore", "-c", FIT]
    done = run(command, tmp_path, timeout=120, TMPDIR=str(scratch), **HOSTS).succeeded()
    assert done.out == "2\n"
    assert not list(scratch.glob("nnmpi-*"))


@pytest.mark.parametrize("library", ["openmpi", "mpich"])
def test_a_command_without_a_launcher_leaves_no_file(library: str, tmp_path: Path) -> None:
    scratch, work = tmp_path / "scratch", tmp_path / "work"
    scratch.mkdir()
    work.mkdir()
    nnmpi, before = needed(library).program("nnmpi"), shared_memory()
    for words in (TRAIN, ("evaluate", "run"), ("predict", "run", "--data", "iris"), ("info",), ("train", "--bogus")):
        run([nnmpi, *words], work, TMPDIR=str(scratch))
    assert list(scratch.iterdir()) == []
    new_files = {name for name in shared_memory() - before if f".{os.getpid()}" in name or "singleton" in name}
    assert new_files == set()


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def test_mpi_is_not_even_loaded(tmp_path: Path) -> None:
    stub = tmp_path / "stub/mpi4py"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text('raise ImportError("loaded")\n')
    for words in (TRAIN, ("evaluate", "run"), ("predict", "run", "--data", "iris")):
        run([NNMPI, *words], tmp_path, PYTHONPATH=str(stub.parent)).succeeded()
