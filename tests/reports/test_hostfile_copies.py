# From microsoft/DeepSpeed 669, pmodels/mpich 4189, openpmix/prrte 1152: hostfiles that a launcher does not accept.
"""The launcher gets a clean copy of a hostfile. Unknown syntax is refused with the number of its line."""

from pathlib import Path

import pytest
from jobs import Environment, needed, run

from nnmpi.errors import InputError
from nnmpi.launching.hostfile import hostfile_in_memory, read_hostfile

TRAIN = ("train", "--data", "iris", "--epochs", "1", "--output", "run")
CLEAN = {
    (
        "Open MPI",
        b"\xef\xbb\xbfa slots=2 # x\r\n\r\n# y\r\nb\tslots=4\tmax_slots=8\r\n",
    ): "a slots=2\nb slots=4 max_slots=8\n",
    ("Open MPI", b"a\na\nb slots = 3\na slots=2"): "a slots=4\nb slots=3\n",
    ("Open MPI", b"me@a slots=1\na user=me\r\n"): "me@a slots=2\n",
    ("Open MPI", b"fe80::1 slots=2\n::1\n"): "fe80::1 slots=2\n::1\n",
    ("Open MPI", b"a count=2 slots_max=3\n"): "a slots=2 max_slots=3\n",
    ("MPICH", b"\xef\xbb\xbfa:2# x\rb\r\nc:1 ifname=eth0 user=me\n"): "a:2\nb\nc:1 user=me ifname=eth0\n",
    ("MPICH", b"me@a:2\nb:2\nme@a:2\n"): "a:2 user=me\nb:2\na:2 user=me\n",
    ("Intel MPI", b"a:2\r\nb # x"): "a:2\nb\n",
}


@pytest.mark.parametrize(("mpi", "text"), CLEAN)
def test_copy_is_clean(mpi: str, text: bytes, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(text)
    with hostfile_in_memory(read_hostfile(tmp_path / "hosts", mpi)) as copy:
        assert copy.read_text() == CLEAN[mpi, text]


BAD = {
    ("Open MPI", "a\n\nnode[01-04] slots=2\n"): ("line 3", "scontrol show hostnames"),
    ("Open MPI", "a:2"): ("line 1", "node01 slots=8"),
    ("Open MPI", "a slots=2 colour=red"): ("line 1", "colour=red"),
    ("Open MPI", "^a"): ("line 1",),
    ("Open MPI", "a slots=2.5"): ("line 1", "slots=2.5"),
    ("MPICH", "a\nfe80::1:2"): ("line 2", "IPv6"),
    ("MPICH", "[::1]:2"): ("line 1", "IPv6"),
    ("MPICH", "a:2 slots=2"): ("line 1", "node01:8"),
    ("MPICH", "node[1,3]:2"): ("line 1", "scontrol show hostnames"),
    ("MPICH", "a, b"): ("line 1",),
}


@pytest.mark.parametrize(("mpi", "text"), BAD)
def test_unknown_syntax_is_refused_with_its_line(mpi: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(InputError) as refused:
        read_hostfile(tmp_path / "hosts", mpi)
    assert all(word in str(refused.value) for word in BAD[mpi, text]), refused.value


ODD = {
    "openmpi": ["localhost\\r\\nlocalhost slots=2 # x\\r\\n", "\\xef\\xbb\\xbflocalhost\\tslots=3\\n"],
    "mpich": ["localhost:1\\r\\nlocalhost:2 # x\\r\\n", "\\xef\\xbb\\xbflocalhost:3\\n"],
}


@pytest.mark.mpi
@pytest.mark.parametrize("number", [0, 1])
def test_launcher_takes_the_copy_of_what_can_be_read_once(mpi: Environment, number: int, tmp_path: Path) -> None:
    nnmpi, text = mpi.program("nnmpi"), ODD[mpi.mpi][number]
    script = f"{nnmpi} launch -n 3 --hostfile <(printf '{text}') -- {' '.join(TRAIN)}"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run(["bash", "-c", script], tmp_path, timeout=120, TMPDIR=str(scratch)).succeeded()
    assert '"world_size": 3' in (tmp_path / "run/config.json").read_text()
    assert not list(scratch.glob("nnmpi-*"))


@pytest.mark.mpi
def test_more_slots_than_cores_let_ranks_give_way(tmp_path: Path) -> None:
    """Open MPI trusts the number of slots, so without the setting, waiting ranks would keep their cores busy."""
    mpi = needed("openmpi")
    (tmp_path / "hosts").write_text("localhost slots=512\n")
    customization = tmp_path / "sitecustomize.py"
    customization.write_text(
        "import atexit, os\natexit.register(lambda: print('yield', os.environ.get('OMPI_MCA_mpi_yield_when_idle')))\n"
    )
    command = [mpi.program("nnmpi"), "launch", "-n", "5", "--hostfile", "hosts", "--no-fault-tolerance", "--", *TRAIN]
    done = run(["taskset", "-c", "0", *command], tmp_path, timeout=120, PYTHONPATH=str(tmp_path)).succeeded()
    assert done.out.count("yield 1") == 5
