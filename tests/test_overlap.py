"""Which part of the vector travels when, and where that is worth it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.mpi.position import Position
from nnmpi.reduction.allreduce import Native, native
from nnmpi.reduction.buckets import Overlapped, buckets
from nnmpi.reduction.hosts import Hosts


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 4), st.integers(1, 2000))
def test_buckets_are_whole_layers_and_make_up_the_vector(layers: list[int], tail: int, least: int) -> None:
    length = sum(layers) + tail
    found = buckets(layers, length, least)
    assert list(found) == sorted(found, reverse=True)
    assert min(found) == 0
    ends = [*(part.start for part in found.values())]
    assert [part.stop for part in found.values()] == [length, *ends[:-1]]
    assert [part.start for part in found.values()] == [sum(layers[:i]) for i in found]
    assert all(part.stop - part.start >= least for i, part in found.items() if i)


def world(library: str, size: int = 2, recovers: bool = False) -> Any:
    requests = SimpleNamespace(Testall=None, Testsome=None, Waitall=None)
    mpi = SimpleNamespace(BYTE=None, FLOAT=None, DOUBLE=None, IN_PLACE=None, Request=requests)
    comm = SimpleNamespace(Allreduce=None, Iallreduce=None)
    members = SimpleNamespace(ranks_of_machines=lambda: [[0], [1]])
    return SimpleNamespace(
        size=size,
        rank=0,
        mpi=mpi,
        comm=comm,
        position=Position(),
        recovers=recovers,
        library=lambda: library,
        addresses=members,
    )


MPICH, OPEN_MPI = "MPICH Version: 5.0.2", "Open MPI v5.0.11"


@pytest.mark.parametrize(
    ("where", "bucket_mb", "kind"),
    [
        (world(MPICH), None, Hosts),
        (world(MPICH), 0.0, Native),
        (world(MPICH), 8.0, Native),  # one bucket
        (world(MPICH, size=1), None, Native),
        (world(OPEN_MPI), None, Hosts),
        (world(OPEN_MPI), 1.0, Overlapped),
        (world(OPEN_MPI, recovers=True), 1.0, Native),
    ],
)
def test_rings_between_hosts_unless_buckets_were_asked_for(where: Any, bucket_mb: float | None, kind: type) -> None:
    assert type(native(where, [300_000, 300_000], 600_004, "float32", bucket_mb)) is kind
    if bucket_mb is None and where.size > 1:
        assert type(native(where, [300], 304, "float32", bucket_mb)) is Native  # a ring takes longer for few numbers


def test_each_bucket_starts_when_its_first_layer_is_ready() -> None:
    started: list[tuple[int, int]] = []
    waited: list[list[int]] = []
    there = world(MPICH)
    there.mpi.Request.Testall = lambda requests: None
    there.mpi.Request.Waitall = lambda requests: waited.append(list(requests))

    def iallreduce(_: None, buffer: list[Any]) -> int:
        started.append((int(buffer[0][0]), len(buffer[0])))
        return len(started)

    there.comm.Iallreduce = iallreduce
    reduce = Overlapped(there, buckets([4, 3, 2], 10, 4), 10, "float64")
    reduce.vectors[0][:] = np.arange(10)
    for step in range(2):
        for layer, so_far in ((2, []), (1, [(4, 6)]), (0, [(4, 6), (0, 4)])):
            reduce.ready(layer)
            assert started == so_far
        reduce.reduce()
        assert waited[step] == [1, 2]
        started.clear()
