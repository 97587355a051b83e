"""Sums over a ring are right in any order of messages, and no rank writes to a buffer that is still being sent."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.reduction import ring as rings
from nnmpi.reduction.compress import Exact, Halved
from nnmpi.reduction.hosts import ATOM, PIECE, cut
from nnmpi.reduction.ring import Ring


class Network:
    """Messages between ranks of one process. Each is copied at a random time, and only then counts as sent."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.sent: dict[tuple[int, int, int], list[Any]] = {}  # from, to, tag
        self.expected: dict[tuple[int, int, int], list[Any]] = {}
        self.bytes: dict[tuple[int, int], int] = {}

    def world(self, rank: int) -> Any:
        def send(message: list[Any], to: int, tag: int) -> Any:
            request = SimpleNamespace(done=False, numbers=message[0])

            def start() -> None:
                request.done = False
                self.sent.setdefault((rank, to, tag), []).append(request)
                link = rank, to
                self.bytes[link] = self.bytes.get(link, 0) + message[0].nbytes

            request.Start = start
            return request

        def receive(message: list[Any], source: int, tag: int) -> Any:
            request = SimpleNamespace(done=False, numbers=message[0])

            def start() -> None:
                request.done = False
                self.expected.setdefault((source, rank, tag), []).append(request)

            request.Start = start
            return request

        comm = SimpleNamespace(Send_init=send, Recv_init=receive)
        mpi = SimpleNamespace(BYTE=None, Request=SimpleNamespace(Testsome=self.test_some))
        return SimpleNamespace(rank=rank, comm=comm, mpi=mpi, persistent=[])

    def test_some(self, requests: list[Any]) -> list[int]:
        self.deliver()
        return [i for i, request in enumerate(requests) if request.done and self.random.random() < 0.7]

    def deliver(self) -> None:
        possible = [key for key, requests in self.sent.items() if requests and self.expected.get(key)]
        if possible:
            key = self.random.choice(possible)
            source, target = self.sent[key].pop(0), self.expected[key].pop(0)
            target.numbers[:] = source.numbers
            source.done = target.done = True

    @property
    def is_empty(self) -> bool:
        return not any(self.sent.values()) and not any(self.expected.values())


def sums(
    size: int, vectors: list[np.ndarray], pieces: list[slice], codec: Any, network: Network, steps: int
) -> list[np.ndarray]:
    """Return the vectors of `size` ranks after `steps` steps; each step starts from a copy of `vectors`."""
    rank_of = list(range(10, 10 + size))  # a ring need not hold all ranks of a world
    own = [vector.copy() for vector in vectors]
    arrived: list[list[int]] = [[] for _ in own]
    parts = [[vector[piece] for piece in pieces] for vector in own]
    ring_of = [
        Ring(network.world(rank), rank_of, parts[i], [codec] * len(pieces), arrived[i].append)
        for i, rank in enumerate(rank_of)
    ]
    for _ in range(steps):
        to_start = []
        for i, ring in enumerate(ring_of):
            own[i][:] = vectors[i]
            arrived[i].clear()
            ring.begin()
            to_start.append(network.random.sample(range(len(pieces)), len(pieces)))
        done = [False] * size
        while not all(done):
            i = network.random.randrange(size)
            if to_start[i] and network.random.random() < 0.5:
                ring_of[i].start(to_start[i].pop())
            done[i] = ring_of[i].progress()
            assert not (done[i] and to_start[i])
        assert all(sorted(indices) == list(range(len(pieces))) for indices in arrived)
        assert network.is_empty
        assert not rings._under_way
    return own


@given(st.integers(2, 5), st.integers(1, 9), st.integers(0, 2**32))
def test_all_ranks_have_the_sums_of_all(size: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    length = 3 * count
    vectors = [generator.integers(-1000, 1000, length).astype(np.float64) for _ in range(size)]
    pieces = [slice(3 * i, 3 * i + 3) for i in range(count)]
    results = sums(size, vectors, pieces, Exact(), Network(seed), steps=2)
    for vector in results:
        np.testing.assert_array_equal(vector, np.sum(vectors, axis=0))


@pytest.mark.parametrize("form", [None, "fp16", "bf16"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_ranks_end_with_the_same_bits_close_to_the_sum(size: int, form: str | None) -> None:
    generator = np.random.default_rng(size)
    vectors = [generator.standard_normal(200).astype(np.float32) for _ in range(size)]
    pieces = [slice(i, i + 25) for i in range(0, 200, 25)]
    codec = Halved(form, 25) if form else Exact()
    results = sums(size, vectors, pieces, codec, Network(size), steps=2)
    assert all(vector.tobytes() == results[0].tobytes() for vector in results)
    total = np.sum(vectors, axis=0, dtype=np.float64)
    step = {None: 2**-23, "fp16": 2**-11, "bf16": 2**-8}[form]
    largest = sum(np.abs(vector) for vector in vectors).max()
    assert np.abs(results[0] - total).max() <= size * step * largest
    assert form is None or np.abs(results[0] - total).max() > 0  # it was rounded


@pytest.mark.parametrize(("form", "share"), [(None, 1), ("fp16", 1 / 2), ("bf16", 1 / 2)])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_each_link_carries_what_a_ring_needs(size: int, form: str | None, share: float) -> None:
    vectors = [np.ones(6000, np.float32) for _ in range(size)]
    pieces = cut(slice(0, 6000), size, 4)
    network = Network(1)
    sums(size, vectors, pieces, Halved(form, 6000) if form else Exact(), network, steps=1)
    assert len(network.bytes) == size
    for sent in network.bytes.values():
        assert sent == pytest.approx(2 * (size - 1) / size * 6000 * 4 * share, rel=0.01)


@given(st.integers(0, PIECE), st.integers(0, 2 * PIECE), st.integers(2, 5))
def test_pieces_make_up_the_part_and_begin_at_all_hosts_alike(start: int, size: int, hosts: int) -> None:
    pieces = cut(slice(start, start + size), hosts, 8)
    ends = [start, *(piece.stop for piece in pieces)]
    assert [piece.start for piece in pieces] == ends[:-1]
    assert ends[-1] == start + size
    sizes = [piece.stop - piece.start for piece in pieces]
    assert all(0 < s <= PIECE // 8 for s in sizes)
    if size > ATOM:
        per_host = [sum(sizes[host::hosts]) for host in range(hosts)]
        assert max(per_host) - min(per_host) <= 0.05 * max(per_host)
