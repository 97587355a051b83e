"""Which part of the gradient vector is sent at what time, and when overlap is used."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.mpi.position import Position
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.network import Network
from nnmpi.reduction.allreduce import Native, native
from nnmpi.reduction.buckets import Overlapped, buckets
from nnmpi.reduction.hosts import PART, Hosts, parts_of


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 4), st.integers(1, 2000))
def test_buckets_are_whole_layers_and_make_up_the_vector(layers: list[int], tail: int, least: int) -> None:
    length = sum(layers) + tail
    parts = buckets(layers, length, least)
    assert list(parts) == sorted(parts, reverse=True)
    assert min(parts) == 0
    ends = [*(part.start for part in parts.values())]
    assert [part.stop for part in parts.values()] == [length, *ends[:-1]]
    assert [part.start for part in parts.values()] == [sum(layers[:i]) for i in parts]
    assert all(part.stop - part.start >= least for i, part in parts.items() if i)


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
        persistent=[],
    )


MPICH, OPEN_MPI = "MPICH Version: 5.0.2", "Open MPI v5.0.11"


@pytest.mark.parametrize(
    ("fake_world", "bucket_mb", "kind"),
    [
        (world(MPICH), None, Hosts),
        (world(MPICH), 0.0, Native),
        (world(MPICH), 8.0, Native),  # all in one bucket
        (world(MPICH, size=1), None, Native),
        (world(OPEN_MPI), None, Hosts),
        (world(OPEN_MPI), 1.0, Overlapped),
        (world(OPEN_MPI, recovers=True), 1.0, Native),
    ],
)
def test_rings_between_hosts_unless_buckets_were_asked_for(
    fake_world: Any, bucket_mb: float | None, kind: type
) -> None:
    assert type(native(fake_world, [300_000, 300_000], 600_004, "float32", bucket_mb)) is kind
    if bucket_mb is None and fake_world.size > 1:
        # a ring takes longer for few numbers
        assert type(native(fake_world, [300], 304, "float32", bucket_mb)) is Native


def test_each_bucket_starts_when_its_first_layer_is_ready() -> None:
    started: list[tuple[int, int]] = []
    waited: list[list[int]] = []
    fake_world = world(MPICH)
    fake_world.mpi.Request.Testall = lambda requests: None
    fake_world.mpi.Request.Waitall = lambda requests: waited.append(list(requests))

    def iallreduce(_: None, buffer: list[Any]) -> int:
        started.append((int(buffer[0][0]), len(buffer[0])))
        return len(started)

    fake_world.comm.Iallreduce = iallreduce
    reduce = Overlapped(fake_world, buckets([4, 3, 2], 10, 4), 10, "float64")
    reduce.vectors[0][:] = np.arange(10)
    for step in range(2):
        for start, expected in ((7, []), (4, [(4, 6)]), (2, [(4, 6)]), (0, [(4, 6), (0, 4)])):
            reduce.ready(start)
            assert started == expected
        reduce.reduce()
        assert waited[step] == [1, 2]
        started.clear()


@pytest.mark.parametrize("sizes", [(1500, 8, 3), (5, 1200, 700, 2), (4, 3)])
def test_a_network_says_from_where_on_the_gradient_is_done(sizes: tuple[int, ...]) -> None:
    architecture = Architecture(sizes, "tanh", "softmax", "cross-entropy", "float64")
    generator = np.random.default_rng(0)
    network = Network(architecture, generator.standard_normal(architecture.parameters) / 20, 6)
    x, t = np.ones((1 + sizes[0], 6)), np.zeros((sizes[-1], 6))
    x[1:], t[0] = generator.standard_normal((sizes[0], 6)), 1
    calls: list[tuple[int, np.ndarray]] = []
    gradients = []
    for overlap in (False, True):
        gradient = np.full(architecture.parameters, np.nan)

        def ready(start: int, gradient: np.ndarray = gradient) -> None:
            calls.append((start, gradient[start:].copy()))

        batch = network.bind([x], [t], [(architecture.views(gradient), [])], ready if overlap else None, training=True)
        network.forward(batch)
        network.loss(batch)
        network.backward(batch)
        gradients.append(gradient)
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-10, atol=1e-14)
    starts = [start for start, _ in calls]
    assert starts == sorted(starts, reverse=True)
    assert starts[-1] == 0
    rows = [1 + fan_in for fan_in in sizes[:-1]]
    assert len(starts) == sum(max(1, n // 512) for n in rows)
    for start, part in calls:
        np.testing.assert_array_equal(part, gradients[1][start:])


@given(st.integers(1, 5 * PART))
def test_parts_make_up_the_vector_from_its_end(length: int) -> None:
    parts = parts_of(length)
    assert [part.stop for part in parts] == [length, *(part.start for part in parts[:-1])]
    assert parts[-1].start == 0
    sizes = [part.stop - part.start for part in parts]
    assert min(sizes) >= min(length, PART // 2)
    assert max(sizes) <= 1.5 * PART
