"""A training that needs more memory than the host, a container or a job has is refused."""

import pytest

import nnmpi
from nnmpi import memory
from nnmpi.errors import InputError

HOST = memory.os.sysconf("SC_PHYS_PAGES") * memory.os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("limit", "usable", "words"),
    [
        (None, HOST, "the host has"),
        (10**8, 10**8, "the memory limit of this job or container is 0.1 GB"),
        (HOST + 1, HOST, "the host has"),  # the limit is above the memory of the host
    ],
)
def test_the_smaller_of_host_and_cgroup_counts(
    limit: int | None, usable: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: limit)
    memory.check_memory(usable, "X")
    with pytest.raises(InputError, match=f"^X needs at least .* GB per rank, {words}"):
        memory.check_memory(usable + 1, "X")


def test_a_training_that_a_container_would_kill_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: 10**7)
    with pytest.raises(InputError, match=r"^random:100000x200x2 needs .*the memory limit of this job"):
        nnmpi.train("random:100000x200x2")
