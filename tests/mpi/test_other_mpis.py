"""Other MPIs than the wheels of Open MPI and MPICH: Intel's wheel, and the packages of Debian.

Two ranks train to the same bits as one rank, and `nnmpi info` names library and launcher. MPIs that are not installed
are skipped.
"""

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from jobs import ROOT, Done, Run, needed, run

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

DEBIAN = Path("/usr/lib") / f"{platform.machine()}-linux-gnu"
DETERMINISTIC = ("--epochs", "2", "--deterministic")


@dataclass(frozen=True)
class OtherMPI:
    """An MPI: its launcher, its library if mpi4py does not find it, its name, and how to install it."""

    mpiexec: Path
    library: Path | None
    name: str
    install: str


MPIS = {
    "Intel": OtherMPI(
        ROOT / ".venv-intelmpi/bin/mpiexec", None, "Intel(R) MPI Library", "run scripts/test --intelmpi, which makes it"
    ),
    "Debian's Open MPI": OtherMPI(
        Path("/usr/bin/mpiexec.openmpi"), DEBIAN / "libmpi.so.40", "Open MPI v", "install Debian's openmpi-bin"
    ),
    "Debian's MPICH": OtherMPI(
        Path("/usr/bin/mpiexec.mpich"), DEBIAN / "libmpich.so.12", "MPICH Version", "install Debian's mpich"
    ),
}
Start = Callable[..., Done]


@pytest.fixture(params=MPIS)
def other(request: pytest.FixtureRequest) -> OtherMPI:
    mpi = MPIS[request.param]
    if not mpi.mpiexec.exists() or (mpi.library and not mpi.library.exists()):
        pytest.skip(f"no {mpi.mpiexec}: {mpi.install}")
    return mpi


@pytest.fixture
def start(other: OtherMPI, tmp_path: Path) -> Start:
    """``start(*arguments)``: nnmpi on two ranks under this MPI."""
    program = needed("openmpi").program("nnmpi") if other.library else str(other.mpiexec.with_name("nnmpi"))
    variables = {"OMPI_MCA_rmaps_base_oversubscribe": "1"}  # the name of this setting in Open MPI 4
    if other.library:
        # mpi4py loads MPICH's library by its upstream name; Debian uses another name
        name = "libmpi.so.12" if "mpich" in other.library.name else other.library.name
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / name).symlink_to(other.library)
        variables |= {"MPI4PY_LIBMPI": str(tmp_path / "lib" / name), "LD_LIBRARY_PATH": str(tmp_path / "lib")}
    return lambda *arguments: run([str(other.mpiexec), "-n", "2", program, *arguments], tmp_path, **variables)


def test_two_ranks_train_to_the_bits_of_one(start: Start, train: Callable[..., Run], tmp_path: Path) -> None:
    done = Run(start("train", *DETERMINISTIC, "--output", "run").succeeded(), tmp_path / "run")
    alone = train(*DETERMINISTIC)
    assert done.config["world_size"] == 2
    assert (done.directory / "model.safetensors").read_bytes() == (alone.directory / "model.safetensors").read_bytes()


def test_two_ranks_add_up_with_allreduce(start: Start, tmp_path: Path) -> None:
    """Several hosts need MPI's Allreduce. The sums in shared memory of one host do not use it."""
    done = Run(start("train", "--epochs", "5", "--bucket-mb", "0", "--output", "run").succeeded(), tmp_path / "run")
    assert done.metrics[-1]["test_accuracy"] > 0.9


def test_info_names_library_and_launcher(other: OtherMPI, start: Start) -> None:
    done = start("info", "--json")
    (line,) = done.out.splitlines()
    job = json.loads(line)["job"]
    assert job["library"].startswith(other.name)
    assert (job["size"], job["promised"]) == (2, 2)
    assert job["launcher"] == ("Open MPI's mpirun" if other.name.startswith("Open MPI") else "mpiexec (Hydra)")


def test_bad_input_is_told_once(start: Start) -> None:
    done = start("train", "--data", "missing.npz")
    assert done.status == 2
    assert len(done.messages) == 1
    assert "missing.npz" in done.messages[0]
