"""Hostfiles: each MPI has its own syntax; anything else is refused in one line."""

import os
from pathlib import Path

import pytest

from nnmpi.errors import InputError
from nnmpi.launching.hostfile import read_hostfile

HOSTFILES = {
    "Open MPI": ("# mine\n\na\nb slots=8  # two\nu@c slots = 4 max_slots=8\n", [("a", None), ("b", 8), ("u@c", 4)]),
    "MPICH": ("a\nb:8 binding=user:0,1\n c:2 user=u # three", [("a", None), ("b", 8), ("c", 2)]),
    "Intel MPI": ("a\nb:8", [("a", None), ("b", None)]),
}


@pytest.mark.parametrize("mpi", HOSTFILES)
def test_hostfiles_are_read(mpi: str, tmp_path: Path) -> None:
    text, hosts = HOSTFILES[mpi]
    (tmp_path / "hosts").write_text(text)
    assert [(host.name, host.slots) for host in read_hostfile(tmp_path / "hosts", mpi)] == hosts


@pytest.mark.parametrize("name", [path.name for path in (Path(__file__).parents[1] / "hostfiles").glob("*mpi*")])
def test_example_hostfiles_are_read(name: str) -> None:
    mpi = {"openmpi": "Open MPI", "mpich": "MPICH", "intel-mpi": "Intel MPI"}[name]
    assert [host.name for host in read_hostfile(Path(__file__).parents[1] / "hostfiles" / name, mpi)] == ["localhost"]


def test_only_a_pipe_without_a_name_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hosts")
    with pytest.raises(InputError, match="not a file"):
        read_hostfile(tmp_path / "hosts", "Open MPI")
    receive, send = os.pipe()  # such a pipe as bash's <(…) gives
    with os.fdopen(receive), os.fdopen(send, "w") as file:
        file.write("a slots=2\n")
        file.close()
        assert [host.name for host in read_hostfile(Path(f"/dev/fd/{receive}"), "Open MPI")] == ["a"]


BAD_HOSTFILES = {
    "a:8": ("Open MPI", "'a:8' is not"),
    "a slots=0": ("Open MPI", "line 1: 'a slots=0'"),
    "a\nb slots=x": ("Open MPI", "line 2: 'b slots=x'"),
    "a slots=99999999999": ("Open MPI", "line 1"),
    "a b": ("Open MPI", "line 1: 'a b'"),
    "a[1-4]": ("Open MPI", "one host per line"),
    "a,b": ("Open MPI", "one host per line"),
    "a:2,b:2": ("MPICH", "one host per line"),
    "fe80::1": ("MPICH", "Hydra does not accept IPv6"),
    "--x": ("MPICH", "line 1"),
    "a slots=8": ("MPICH", "'node01:8'"),
    "a:": ("MPICH", "line 1"),
    "a:\u00b2": ("MPICH", "line 1"),
    "# none\n": ("MPICH", "names no host"),
    "\udcff": ("MPICH", "is not a text file"),
    "a\n" * 600000: ("MPICH", "larger than 1 MB"),
}


@pytest.mark.parametrize("text", BAD_HOSTFILES, ids=lambda text: ascii(text[:20]))
def test_bad_hostfiles_are_refused(text: str, tmp_path: Path) -> None:
    mpi, words = BAD_HOSTFILES[text]
    (tmp_path / "hosts").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as refused:
        read_hostfile(tmp_path / "hosts", mpi)
    assert words in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
