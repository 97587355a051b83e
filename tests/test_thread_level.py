"""The thread level with which MPI is started."""

import contextlib
from types import SimpleNamespace

import pytest

from nnmpi.mpi.start import start


@pytest.mark.parametrize(("thread", "level"), [("1", "MULTIPLE"), ("0", "FUNNELED"), (None, "FUNNELED")])
def test_with_a_thread_for_the_heartbeat_mpi_takes_locks(
    thread: str | None, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks, 4 of 8 ranks once crashed in MPI_Init on a busy machine."""
    monkeypatch.setenv("OMPI_MCA_mpi_ft_enable", "1")
    monkeypatch.delenv("OMPI_MCA_mpi_ft_detector_thread", raising=False)
    if thread:
        monkeypatch.setenv("OMPI_MCA_mpi_ft_detector_thread", thread)
    levels: list[str] = []
    library = "Open MPI v5.0.11, package: Open MPI"
    names = {"THREAD_FUNNELED": "FUNNELED", "THREAD_MULTIPLE": "MULTIPLE"}
    mpi = SimpleNamespace(Get_library_version=lambda: library, Init_thread=levels.append, **names)
    start(mpi, contextlib.nullcontext)
    assert levels == [level]
