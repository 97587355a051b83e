"""Ranks with different MPIs, settings or code are refused before they train."""

import shutil
import sys
from pathlib import Path

import pytest
from jobs import ROOT, CommandServer, Environment, needed, run, unchanged

from nnmpi.launching.mpiexec_command import HEARTBEAT

TRAIN = ("train", "--data", "iris", "--epochs", "1", "--output", "run")


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize(("library", "launcher"), [("openmpi", "mpich"), ("mpich", "openmpi")])
def test_launcher_of_another_mpi_is_refused(library: str, launcher: str, tmp_path: Path) -> None:
    with unchanged(tmp_path):
        done = run(needed(launcher).mpiexec(2, needed(library).program("nnmpi"), *TRAIN), tmp_path)
    assert done.status == 2
    (message,) = done.messages
    assert "2 processes" in message
    assert "own launcher" in message
    assert {"openmpi": "Open MPI v", "mpich": "MPICH"}[library] in message
    assert "Traceback" not in done.err


@pytest.mark.mpi
@pytest.mark.slow
def test_evaluate_under_the_launcher_of_another_mpi_is_refused(nnmpi: CommandServer, tmp_path: Path) -> None:
    nnmpi(*TRAIN, cwd=tmp_path).succeeded()
    done = run(needed("mpich").mpiexec(2, needed("openmpi").program("nnmpi"), "evaluate", "run"), tmp_path)
    assert done.status == 2
    assert len(done.messages) == 1


@pytest.mark.slow
def test_slurm_tasks_that_are_no_ranks_are_refused(nnmpi: CommandServer, tmp_path: Path) -> None:
    with unchanged(tmp_path):
        done = nnmpi(*TRAIN, cwd=tmp_path, SLURM_NTASKS="4", SLURM_PROCID="0", SLURM_STEP_ID="0")
    assert done.status == 2
    (message,) = done.err.splitlines()
    assert "Slurm started 4 processes" in message
    assert "srun --mpi=" in message


@pytest.mark.mpi
@pytest.mark.slow
def test_mpiexec_counts_more_than_slurm(mpi: Environment, tmp_path: Path) -> None:
    run(mpi.nnmpi(2, *TRAIN), tmp_path, SLURM_NTASKS="4").succeeded()


@pytest.mark.mpi
@pytest.mark.slow
def test_different_settings_are_refused(mpi: Environment, tmp_path: Path) -> None:
    one, other = ([mpi.program("nnmpi"), *TRAIN, "--seed", seed] for seed in ("1", "2"))
    with unchanged(tmp_path):
        done = run(mpi.mpiexec_each(one, one, other), tmp_path)
    assert done.status == 2
    (message,) = done.messages
    assert "rank 2 and rank 0 run with different settings" in message


@pytest.mark.mpi
@pytest.mark.slow
def test_different_code_is_refused(mpi: Environment, tmp_path: Path) -> None:
    copy = tmp_path / "copy/nnmpi"
    shutil.copytree(ROOT / "nnmpi", copy, ignore=shutil.ignore_patterns("__pycache__"))
    with open(copy / "nn/layers.py", "a") as file:
        file.write("# another comment\n")
    command = [mpi.program("nnmpi"), *TRAIN]
    work = tmp_path / "here"
    work.mkdir()
    with unchanged(work):
        done = run(
            mpi.mpiexec_each(command, ["env", f"PYTHONPATH={copy.parent}", "PYTHONDONTWRITEBYTECODE=1", *command]), work
        )
    assert done.status == 2
    (message,) = done.messages
    assert "rank 1 and rank 0 run with different code" in message


HEARTBEATS = """
import ctypes, os
from nnmpi.mpi.start import HEARTBEAT_TAG, load, prepare

mpi = load()
opal = ctypes.CDLL("libopen-pal.so.80", os.RTLD_NOLOAD | os.RTLD_NOW)
table = (ctypes.c_void_p * 2 * (HEARTBEAT_TAG + 1)).in_dll(opal, "mca_btl_base_active_message_trigger")
functions = [table[HEARTBEAT_TAG][0]]
prepare(mpi)
functions.append(table[HEARTBEAT_TAG][0])
mpi.Init_thread(mpi.THREAD_MULTIPLE)
functions.append(table[HEARTBEAT_TAG][0])
mpi.COMM_WORLD.Barrier()
print("function" if functions[1] else "none", "replaced" if functions[2] not in functions[:2] else "kept")
os._exit(0)
"""


@pytest.mark.mpi
@pytest.mark.slow
def test_heartbeats_before_the_start_of_a_rank_call_a_function(tmp_path: Path) -> None:
    """Open MPI calls the function of a message's tag, even if it is NULL because the rank has not started fully."""
    mpi = needed("openmpi")
    flags = [word for name, value in HEARTBEAT.items() for word in ("--mca", name, value)]
    command = [mpi.program("mpiexec"), "--with-ft", "ulfm", *flags, "-n", "2", mpi.program("python"), "-c", HEARTBEATS]
    assert run(command, tmp_path).out.splitlines() == 2 * ["function replaced"]


def test_no_mpi_library_is_told_in_one_line(tmp_path: Path) -> None:
    stub = tmp_path / "stub/mpi4py"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("class rc: pass\n")
    (stub / "MPI.py").write_text('raise RuntimeError("cannot load MPI library\\nas was tried in many places")\n')
    nnmpi = str(Path(sys.executable).with_name("nnmpi"))
    work = tmp_path / "here"
    work.mkdir()
    variables = {"PYTHONPATH": str(stub.parent), "PMI_SIZE": "1", "PMI_RANK": "0", "PMI_PORT": "localhost:1"}
    with unchanged(work):
        done = run([nnmpi, *TRAIN], work, **variables)
    assert done.status == 2
    (message,) = done.err.splitlines()
    assert "cannot load MPI library" in message
    assert "pip install" in message


@pytest.mark.slow
def test_output_appended_to_a_file_leaves_what_is_in_it(tmp_path: Path) -> None:
    """Rank 0 opens the output of Open MPI's launcher to see whether it is a terminal. The file must not change."""
    log = tmp_path / "log"
    log.write_text("what was there\n")
    command = ["sh", "-c", '"$@" >> log', "sh", *needed("openmpi").nnmpi(1, *TRAIN)]
    run(command, tmp_path).succeeded()
    first, *_, last = log.read_text().splitlines()
    assert first == "what was there"
    assert last.startswith("test accuracy")
