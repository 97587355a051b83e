"""Trainings on Slurm."""
import pytest
from slurm import Slurm

pytestmark = [pytest.mark.mpi, pytest.mark.slow]


def test_up(slurm: Slurm) -> None:
    print(slurm("sinfo"))
    print(slurm("srun", "-N4", "hostname"))
