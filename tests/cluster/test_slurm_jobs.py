"""Jobs of `nnmpi slurm` on Slurm: finished, ended by the time limit, interrupted, cancelled, preempted."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import wait_for
from jobs import Environment, Run, needed, read_metrics, run, variables
from launched import end_pause, pausing, wait_for_pause
from slurm import Slurm

from nnmpi.files.checkpoint import newest

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

FLAGS = ("--epochs", "4", "--deterministic")
LONG = 150  # seconds that Slurm and a training may take on a busy machine


def submit(slurm: Slurm, mpi: Environment, directory: Path, *words: str, **job_variables: str) -> str:
    """Submit the script that ``nnmpi slurm`` writes; return the number of the job."""
    script = directory / "job.sbatch"
    command = [mpi.program("nnmpi"), "slurm", *words]
    script.write_text(subprocess.run(command, env=variables(), capture_output=True, text=True, check=True).stdout)
    settings = [f"{name}={value}" for name, value in job_variables.items()]
    return slurm("env", *settings, "sbatch", "--parsable", str(script), cwd=directory).strip()


def output(directory: Path) -> str:
    return "".join(path.read_text() for path in directory.glob("*.out"))


def wait_for_state(slurm: Slurm, job: str, state: str, directory: Path) -> None:
    def reached() -> bool:
        current = slurm.state(job)
        assert current == state or current not in ("FAILED", "CANCELLED", "TIMEOUT", "COMPLETED"), output(directory)
        return current == state

    wait_for(reached, timeout=LONG)


@pytest.mark.parametrize(
    "ranks", [1, pytest.param(2, marks=pytest.mark.more("test_across_hosts runs two ranks per host"))]
)
def test_the_script_trains_on_four_nodes(
    ranks: int, mpi: Environment, slurm: Slurm, train: Callable[..., Run], tmp_path: Path
) -> None:
    slurm_flags = ("--nodes", "4", "--ntasks-per-node", str(ranks), "--time", "10m")
    job = submit(slurm, mpi, tmp_path, *slurm_flags, "--", "train", *FLAGS)
    wait_for_state(slurm, job, "COMPLETED", tmp_path)
    directory = tmp_path / f"runs/digits-{job}"
    config = json.loads((directory / "config.json").read_text())
    assert config["hosts"] == [host.name for host in slurm.cluster.hosts for _ in range(ranks)]
    assert config["slurm"]["SLURM_JOB_ID"] == job
    assert (directory / "model.safetensors").read_bytes() == (
        train(*FLAGS).directory / "model.safetensors"
    ).read_bytes()
    assert train(*FLAGS).last_line in output(tmp_path)


def pause_in_job(slurm: Slurm, mpi: Environment, directory: Path, *flags: str) -> str:
    """Start a job whose ranks pause in update 70 until a signal comes; return its number."""
    slurm_flags = ("--nodes", "4", "--time", "20m")
    job = submit(
        slurm, mpi, directory, *slurm_flags, "--", "train", *FLAGS, *flags, "--output", "run", **pausing(directory, 70)
    )
    wait_for_pause(directory, 4)
    return job


def last_update(directory: Path) -> int:
    """Return the number of updates in the newest checkpoint; 0 if there is none."""
    checkpoint, _ = newest(directory / "run/checkpoints")
    return 45 * checkpoint.progress.epoch + checkpoint.progress.step if checkpoint else 0


def end_of_queueing(slurm: Slurm, job: str, directory: Path) -> None:
    """Wait until the job is queued again, and let it start without Slurm's delay."""
    wait_for(lambda: slurm.state(job) == "PENDING", timeout=LONG)
    end_pause(directory)
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now", "TimeLimit=20")


def check_resumed(slurm: Slurm, job: str, directory: Path, train: Callable[..., Run]) -> None:
    """Check that the job resumed from its checkpoint and ended with the same bits."""
    wait_for_state(slurm, job, "COMPLETED", directory)
    reference = train(*FLAGS)
    assert (directory / "run/model.safetensors").read_bytes() == (
        reference.directory / "model.safetensors"
    ).read_bytes()
    assert [m["epoch"] for m in read_metrics(directory / "run")] == [1, 2, 3, 4]
    assert json.loads((directory / "run/config.json").read_text())["slurm"]["SLURM_RESTART_COUNT"] == "1"


RARE = ("--checkpoint-every", "1000steps")  # only a signal leaves a checkpoint


@pytest.mark.parametrize(
    "library",
    [
        "openmpi",
        pytest.param(
            "mpich", marks=pytest.mark.more("takes a minute; the test with INT shows that signals reach the ranks")
        ),
    ],
)
def test_at_the_time_limit_the_job_is_queued_again_and_goes_on(
    library: str, slurm: Slurm, train: Callable[..., Run], tmp_path: Path
) -> None:
    started = time.monotonic()
    job = pause_in_job(slurm, needed(library), tmp_path, *RARE)
    # one to two minutes remain: Slurm checks every 30 s and sends the signal at the next check
    limit = int(time.monotonic() - started) // 60 + 2
    slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")
    end_of_queueing(slurm, job, tmp_path)
    check_resumed(slurm, job, tmp_path, train)
    assert "stopped by SIGUSR1 in epoch 2 after step 26" in output(tmp_path)


@pytest.mark.more("preemption sends TERM, which test_slurm.py tests; Slurm itself queues the job again")
def test_a_preempted_job_goes_on(slurm: Slurm, train: Callable[..., Run], tmp_path: Path) -> None:
    job = pause_in_job(slurm, needed("openmpi"), tmp_path, "--checkpoint-every", "20steps")
    slurm("srun", "--partition=urgent", "--nodes=4", "--exclusive", "true", timeout=LONG)
    end_pause(tmp_path)  # the job may have started again and paused
    check_resumed(slurm, job, tmp_path, train)


def test_an_interrupted_job_leaves_a_checkpoint(mpi: Environment, slurm: Slurm, tmp_path: Path) -> None:
    job = pause_in_job(slurm, mpi, tmp_path, *RARE)
    slurm("scancel", "--batch", "--signal=INT", job)
    wait_for(lambda: not slurm("squeue", "-h", "-j", job), timeout=LONG)
    assert last_update(tmp_path) == 71
    assert slurm.state(job) == "FAILED"  # its exit status is not 0


@pytest.mark.parametrize(
    "library", ["openmpi", pytest.param("mpich", marks=pytest.mark.more("its ranks write one more checkpoint"))]
)
def test_a_cancelled_job_leaves_the_last_checkpoint_that_was_due(library: str, slurm: Slurm, tmp_path: Path) -> None:
    """Slurm ends Open MPI's daemons, and they end the ranks before these can write another checkpoint."""
    job = pause_in_job(slurm, needed(library), tmp_path, "--checkpoint-every", "20steps")
    wait_for(lambda: last_update(tmp_path) >= 60)
    slurm("scancel", job)
    wait_for(lambda: not slurm("squeue", "-h", "-j", job), timeout=LONG)
    assert last_update(tmp_path) >= 60


def test_worlds_of_one_rank_are_refused(slurm: Slurm, tmp_path: Path) -> None:
    """``srun --mpi=pmi2`` is for MPICH; ranks with Open MPI's library do not see each other."""
    train = (needed("openmpi").program("nnmpi"), "train", "--output", str(tmp_path / "run"))
    command = slurm.command("srun", "--nodes=4", "--mpi=pmi2", *train)
    done = run(command, tmp_path, timeout=LONG)
    assert done.status == 2
    assert done.err.count("nnmpi: ") == 1
    assert "srun --mpi=pmi2 started 4 processes, but MPI sees a world of 1" in done.err, done.err
    assert not (tmp_path / "run").exists()
