"""Which ranks may go on after a loss, and which errors count as a loss; mpi/test_recovery.py tests whole trainings."""

import contextlib
import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from ranks import on_ranks

from nnmpi.errors import RunError
from nnmpi.faults.recovery import recovering, shrink
from nnmpi.files.checkpoint import Checkpoint, Progress
from nnmpi.mpi.addresses import Addresses
from nnmpi.mpi.host import machine, process
from nnmpi.mpi.position import Position
from nnmpi.mpi.world import World
from nnmpi.training.resume import RunState


class SmallAddresses(Addresses):
    """Addresses that need no processes."""

    def __init__(self, world: World, hosts: str) -> None:
        super().__init__(world)
        self._hosts = list(hosts)
        self.awake: list[int] = []  # lost ranks that still run
        self.killed: list[int] = []

    def alive(self, ranks: list[int], patience: float = 0) -> list[int]:
        return [rank for rank in ranks if rank in self.awake]

    def kill(self, ranks: list[int]) -> None:
        self.killed += ranks


class SmallWorld(World):
    """A world whose next communicator holds the ranks in `survivors`."""

    def __init__(self, hosts: str, survivors: list[int]) -> None:
        self.host, self.rank, self.size, self.initial_size = hosts[survivors[0]], 0, len(hosts), len(hosts)
        self.initial_ranks, self.recovers, self.addresses = list(range(len(hosts))), True, SmallAddresses(self, hosts)
        self.position = Position()
        self.comm = SimpleNamespace(Revoke=lambda: None, Shrink=lambda: survivors)

    def shrink_to(self, comm: list[int]) -> None:
        self.initial_ranks, self.size = comm, len(comm)


@pytest.mark.parametrize(
    ("hosts", "survivors"),
    [
        ("AAAA", [3]),  # on one host, lost ranks are dead
        ("AAAB", [0, 1, 2]),  # more than half of the ranks
        ("AABB", [0, 1]),  # a half, which has the lowest rank
        ("AABB", [1, 2]),  # each host has a survivor, so the lost ranks are dead
        ("ABCD", [1, 2, 3]),
        ("AAB", [0, 2]),
    ],
)
def test_these_go_on(hosts: str, survivors: list[int]) -> None:
    world = SmallWorld(hosts, survivors)
    shrink(world, list(range(len(hosts))))
    assert world.initial_ranks == survivors
    assert world.lost == [rank for rank in range(len(hosts)) if rank not in survivors]


@pytest.mark.parametrize(
    ("hosts", "survivors", "lost_hosts"),
    [("AAAA", [3], []), ("AABB", [0, 1], ["B"]), ("AABB", [1, 2], []), ("ABCD", [1, 2], ["A", "D"])],
)
def test_hosts_without_ranks_are_known(hosts: str, survivors: list[int], lost_hosts: list[str]) -> None:
    world = SmallWorld(hosts, survivors)
    world.shrink_to(survivors)
    assert world.addresses.hosts_without_ranks == lost_hosts
    assert world.addresses.is_first_on_host  # rank 0, the first survivor


def test_one_rank_leads_on_each_host() -> None:
    world = SmallWorld("AABB", [1, 2, 3])
    world.shrink_to([1, 2, 3])
    is_first = []
    for number, rank in enumerate(world.initial_ranks):
        world.rank, world.host = number, "AABB"[rank]
        is_first.append(world.addresses.is_first_on_host)
    assert is_first == [True, True, False]


@pytest.mark.parametrize(
    ("hosts", "survivors"), [("AABB", [2, 3]), ("AAAB", [3]), ("ABCD", [0]), ("ABCD", [2, 3]), ("AABBC", [0, 4])]
)
def test_these_stop_as_others_may_go_on(hosts: str, survivors: list[int]) -> None:
    world = SmallWorld(hosts, survivors)
    with pytest.raises(RunError, match="stops and writes nothing") as error:
        shrink(world, list(range(len(hosts))))
    assert error.value.shared


@pytest.mark.parametrize(("local_size", "goes_on"), [("4", True), ("1", False)])
def test_before_hosts_are_known_ranks_may_be_anywhere(
    local_size: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On several hosts, each rank may wrongly believe that all others are dead. On one host it cannot be wrong."""
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", local_size)
    world = SmallWorld("ABCD", [0])
    world.addresses._hosts = []
    with contextlib.nullcontext() if goes_on else pytest.raises(RunError):
        shrink(world, [0, 1, 2, 3])


def test_who_is_stopped_on_a_host_of_ours_is_killed() -> None:
    world = SmallWorld("AAAA", [0, 1, 3])
    world.addresses.awake = [2]
    shrink(world, [0, 1, 2, 3])
    assert world.addresses.killed == [2]


def test_who_wakes_up_among_others_on_its_host_stops() -> None:
    world = SmallWorld("AAAA", [2])
    world.addresses.awake = [0, 1, 3]
    with pytest.raises(RunError, match="stops and writes nothing"):
        shrink(world, [0, 1, 2, 3])
    assert not world.addresses.killed


def test_only_processes_that_were_ranks_are_seen_and_killed() -> None:
    world = SmallWorld("AA", [0])
    world.gather_rows = lambda rows: rows  # type: ignore[method-assign]
    with subprocess.Popen(["sleep", "9"]) as sleeping:
        entry = process(sleeping.pid)
        assert entry
        start = entry[1]
        processes = {1: (machine(), sleeping.pid, start), 2: (machine(), sleeping.pid, start - 1), 3: ("far", 1, 0)}
        world.addresses._processes, world.addresses._machine = processes, machine()
        assert Addresses.alive(world.addresses, [1, 2, 3], 0.01) == [1]
        Addresses.kill(world.addresses, [2, 3])
        assert Addresses.alive(world.addresses, [1], 0.01) == [1]
        Addresses.kill(world.addresses, [1, 2, 3])
        assert Addresses.alive(world.addresses, [1], 10) == []
        assert sleeping.wait() == -signal.SIGKILL


def test_the_quorum_is_of_the_last_world_that_agreed() -> None:
    """Ranks are lost twice before the survivors agree. The quorum counts the world before both losses."""
    world = SmallWorld("ABCD", [0, 1, 2])
    shrink(world, [0, 1, 2, 3])
    world.comm = SimpleNamespace(Revoke=lambda: None, Shrink=lambda: [1, 2])
    with pytest.raises(RunError):
        shrink(world, [0, 1, 2, 3])
    world.comm.Shrink = lambda: [0, 2]
    shrink(world, [0, 1, 2, 3])


class MPIError(Exception):
    def Get_error_class(self) -> int:
        return int(self.args[0])


MPI = SimpleNamespace(Exception=MPIError, ERR_PROC_FAILED=75, ERR_PROC_FAILED_PENDING=76, ERR_REVOKED=77)


OTHER = 16  # an error class that a broken connection between hosts may give


@pytest.mark.parametrize("error_class", [75, 76, 77, OTHER])
def test_attempts_go_on_until_one_ends(error_class: int) -> None:
    world, calls = SmallWorld("AAAA", [0, 1, 2]), []
    world.mpi = MPI

    def attempt() -> None:
        calls.append("attempt")
        world.comm.Shrink = lambda: [[0, 1, 2], [0, 1]][calls.count("attempt") - 1]
        if calls.count("attempt") < 3:
            raise MPIError(error_class)

    def agree() -> None:
        calls.append("agree")
        if calls.count("agree") == 1:
            raise MPIError(error_class)

    recovering(world, attempt, agree)
    assert calls == ["attempt", "agree", "agree", "attempt", "agree", "attempt"]


def test_error_that_is_no_death_ends_the_run_on_all_ranks() -> None:
    world = SmallWorld("AAA", [0, 1, 2])
    world.mpi = MPI
    world.gather_bytes = lambda own: [b"", own, b""]  # type: ignore[method-assign]

    def attempt() -> None:
        raise MPIError(OTHER, "truncated")

    with pytest.raises(RunError, match=r"MPI failed on rank 1 of 3 on A: .*truncated") as error:
        recovering(world, attempt, lambda: None)
    assert error.value.shared


def test_errors_are_raised_where_nobody_can_go_on() -> None:
    world = SmallWorld("AAA", [0, 1])
    world.mpi, world.recovers = MPI, False

    def attempt() -> None:
        raise MPIError(75)

    with pytest.raises(MPIError):
        recovering(world, attempt, lambda: None)


def test_ranks_meet_again_where_only_some_have_met_before() -> None:
    """A rank died while the ranks first met: some ranks had heard from all others, some got an error."""

    def rank(world: World) -> list[str]:
        if world.rank == 0:
            world.addresses._hosts = ["host0", "host1", "host2"]
        world.addresses.meet()
        return world.addresses.hosts()

    assert on_ranks(3, rank) == 3 * [["host0", "host1", "host2"]]


def test_survivors_take_over_the_state_of_the_most_advanced() -> None:
    """Only rank 1 has finished the last step of epoch 2."""

    def rank(world: World) -> tuple[int, int, float, list[int]]:
        ahead = world.rank == 1
        progress = Progress(epoch=2, update=20) if ahead else Progress(epoch=1, step=9, update=19)
        state = RunState(Checkpoint(progress, {"parameters": np.full(3, float(world.rank))}, {}))
        state.epochs = [{"epoch": epoch} for epoch in (1, 2)[: 1 + ahead]]
        state.agree(world)
        agreed = state.checkpoint
        assert agreed
        epochs = [metrics["epoch"] for metrics in state.epochs]
        return agreed.progress.epoch, agreed.progress.update, float(agreed.arrays["parameters"][0]), epochs

    assert on_ranks(3, rank) == 3 * [(2, 20, 1.0, [1, 2])]


def test_epoch_that_all_have_seen_is_not_logged_twice() -> None:
    """The ranks are one step apart in epoch 2. Each has measured the time of epoch 1 itself."""

    def rank(world: World) -> list[int]:
        progress = Progress(epoch=1, step=1 + world.rank, update=11 + world.rank)
        state = RunState(Checkpoint(progress, {}, {}), [{"epoch": 1, "seconds": float(world.rank)}])
        state.agree(world)
        return [metrics["epoch"] for metrics in state.epochs]

    assert on_ranks(2, rank) == [[1], [1]]
