"""Job scripts of `nnmpi slurm` on Slurm: trained, cut off by the time limit, cancelled, preempted."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import wait_for
from jobs import Environment, Run, variables
from slurm import Slurm

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

PAUSING = Path(__file__).parents[1] / "programs/pausing"
FLAGS = ("--epochs", "4", "--deterministic")
LONG = 150  # seconds that Slurm and a training may take on a busy machine


def submit(slurm: Slurm, mpi: Environment, directory: Path, *words: str, **more: str) -> str:
    """Submit what ``nnmpi slurm`` writes; the number of the job."""
    script = directory / "job.sbatch"
    command = [mpi.program("nnmpi"), "slurm", *words]
    script.write_text(subprocess.run(command, env=variables(), capture_output=True, text=True, check=True).stdout)
    settings = [f"{name}={value}" for name, value in more.items()]
    return slurm("env", *settings, "sbatch", "--parsable", str(script), cwd=directory).strip()


def output(directory: Path) -> str:
    return "".join(path.read_text() for path in directory.glob("*.out"))


def wait_for_state(slurm: Slurm, job: str, state: str, directory: Path) -> None:
    def reached() -> bool:
        now = slurm.state(job)
        assert now == state or now not in ("FAILED", "CANCELLED", "TIMEOUT", "COMPLETED"), output(directory)
        return now == state

    wait_for(reached, timeout=LONG)


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_script_trains_on_four_nodes(
    ranks: int, mpi: Environment, slurm: Slurm, train: Callable[..., Run], tmp_path: Path
) -> None:
    asked = ("--nodes", "4", "--ntasks-per-node", str(ranks), "--time", "10m")
    job = submit(slurm, mpi, tmp_path, *asked, "--", "train", *FLAGS)
    wait_for_state(slurm, job, "COMPLETED", tmp_path)
    directory = tmp_path / f"runs/digits-{job}"
    config = json.loads((directory / "config.json").read_text())
    assert config["hosts"] == [host.name for host in slurm.cluster.hosts for _ in range(ranks)]
    assert config["slurm"]["SLURM_JOB_ID"] == job
    assert (directory / "model.safetensors").read_bytes() == (
        train(*FLAGS).directory / "model.safetensors"
    ).read_bytes()
    assert train(*FLAGS).last_line in output(tmp_path)
