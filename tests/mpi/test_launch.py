"""``nnmpi launch`` starts a training under the installed launcher, ends it on request, restarts it after failures."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from jobs import Environment, Job, needed, program_path, read_metrics, run, wait_for_an_epoch

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

TRAIN = ("train", "--epochs", "3", "--deterministic", "--checkpoint-every", "10steps", "--output")
FAILURE = 77  # the update before which the fault happens: in the second epoch, between two checkpoints
ROOT_VARIABLES = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "PRTE_MCA_rmaps_default_mapping_policy")


def launch(mpi: Environment, *words: str) -> list[str]:
    """Return the command, without the variables that other tests give to Open MPI: `launch` sets them itself."""
    return ["env", *(f"--unset={name}" for name in ROOT_VARIABLES), mpi.program("nnmpi"), "launch", *words]


def fault_variables(directory: Path, fault: int | str, times: int) -> dict[str, str]:
    """Return the variables that let a fault happen on rank 1, at most `times` times, see `programs/fail_at_update`."""
    (directory / "faults").touch()
    path = os.pathsep.join(filter(None, [program_path("fail_at_update"), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "FAULT": f"{fault} {FAILURE} 1 {times}", "FAULT_COUNT": str(directory / "faults")}


def messages(text: str) -> list[str]:
    """Return the messages and notes of nnmpi, even if the launcher put text in front of them."""
    return re.findall(r"nnmpi: .*", text)


def model(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of a training without faults."""
    directory = tmp_path_factory.mktemp("undisturbed")
    run([needed("openmpi").program("nnmpi"), *TRAIN, "run"], directory).succeeded()
    return model(directory / "run")


def test_after_a_killed_rank_a_restart_ends_with_the_same_bits(
    mpi: Environment, undisturbed: bytes, tmp_path: Path
) -> None:
    flags = ("-n", "3", "--restarts", "2", *(["--no-fault-tolerance"] * (mpi.mpi == "openmpi")))
    fault = fault_variables(tmp_path, int(signal.SIGKILL), 1)
    done = run(launch(mpi, *flags, "--", *TRAIN, "run"), tmp_path, timeout=180, **fault).succeeded()
    notes = [line for line in messages(done.err) if "restart" in line]
    assert notes == [
        "nnmpi: note: the training failed in epoch 2 after step 25 or later (exit status of the launcher: 137); "
        "restart 1 of 2 in 1 s"
    ]
    assert "starting from the beginning" not in done.err
    assert model(tmp_path / "run") == undisturbed
    assert [m["epoch"] for m in read_metrics(tmp_path / "run")] == [1, 2, 3]


def test_with_fault_tolerance_a_killed_rank_needs_no_restart(undisturbed: bytes, tmp_path: Path) -> None:
    fault = fault_variables(tmp_path, int(signal.SIGKILL), 1)
    done = run(launch(needed("openmpi"), "-n", "3", "--", *TRAIN, "run"), tmp_path, timeout=180, **fault).succeeded()
    assert (tmp_path / "faults").read_text() == "x"
    assert "restart" not in done.err
    assert model(tmp_path / "run") == undisturbed


def test_a_crash_that_repeats_is_not_restarted_again(mpi: Environment, tmp_path: Path) -> None:
    fault = fault_variables(tmp_path, "raise", 9)
    done = run(launch(mpi, "-n", "2", "--restarts", "5", "--", *TRAIN, "run"), tmp_path, timeout=180, **fault)
    assert done.status == 1
    assert len((tmp_path / "faults").read_text()) == 2
    last = messages(done.err)[-1]
    assert "failed in epoch 2 after step 25 or later" in last
    assert "second failure at the same place, so it is not restarted again" in last


@pytest.mark.parametrize(("library", "name"), [("openmpi", "SIGINT"), ("openmpi", "SIGTERM"), ("mpich", "SIGINT")])
def test_a_signal_ends_the_training_with_a_checkpoint(library: str, name: str, tmp_path: Path) -> None:
    train = ("train", "--epochs", "100000", "--output", "run")
    with Job(launch(needed(library), "-n", "2", "--restarts", "2", "--", *train), tmp_path) as job:
        wait_for_an_epoch(job, tmp_path / "run")
        job.process.send_signal(getattr(signal, name))
        done = job.wait()
    assert done.status == 128 + getattr(signal, name)
    assert list((tmp_path / "run/checkpoints").glob("*.json"))
    assert "restart" not in done.err
    assert messages(done.err)[-1].endswith("add --resume to go on")


def test_a_second_interrupt_ends_all_at_once(mpi: Environment, tmp_path: Path) -> None:
    """Rank 1 is stopped, so no further step ends."""
    fault = fault_variables(tmp_path, int(signal.SIGSTOP), 1)
    with Job(launch(mpi, "-n", "2", "--restarts", "2", "--", *TRAIN, "run"), tmp_path, **fault) as job:
        deadline = time.monotonic() + 120
        while not (tmp_path / "faults").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ranks = [job.rank_pid(rank) for rank in (0, 1)]
        job.process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert job.process.poll() is None
        job.process.send_signal(signal.SIGINT)
        done = job.wait()
    assert done.status == 130
    assert "restart" not in done.err
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{rank}").exists() for rank in ranks):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_the_dry_run_shows_can_be_run_by_a_shell(mpi: Environment, tmp_path: Path) -> None:
    words = ("-n", "3", "--dry-run", "train", "--data", "iris", "--epochs", "0", "--output", "a b")
    command = run(launch(mpi, *words), tmp_path).succeeded().out
    assert len(command.splitlines()) == 1
    assert not (tmp_path / "a b").exists()
    assert "/mpiexec -n 3 " in command
    run(["env", *(f"--unset={name}" for name in ROOT_VARIABLES), "sh", "-c", command], tmp_path).succeeded()
    assert (tmp_path / "a b/model.safetensors").exists()


def test_other_commands_are_launched_too(mpi: Environment, tmp_path: Path) -> None:
    run([mpi.program("nnmpi"), "train", "--data", "iris", "--epochs", "1", "--output", "run"], tmp_path).succeeded()
    done = run(launch(mpi, "-n", "2", "--tag-output", "--", "evaluate", "run"), tmp_path).succeeded()
    lines = done.out.splitlines()
    assert all(re.match(r"\[(\d+,)?0\]", line) for line in lines)
    assert "accuracy" in lines[-1]


def test_bad_input_found_by_the_ranks_is_not_restarted(tmp_path: Path) -> None:
    train = ("train", "--data", "missing.npz", "--output", "run")
    done = run(launch(needed("openmpi"), "-n", "2", "--restarts", "3", "--", *train), tmp_path)
    assert done.status == 2
    assert len(messages(done.err)) == 1
    assert "missing.npz" in done.err
