"""Watchdogs ask each other over real sockets. Ranks are threads; ending a rank is only recorded."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ranks import ThreadWorld, on_ranks

from nnmpi.faults import side_channel as sidechannel
from nnmpi.faults.side_channel import Kind, Report, SideChannel
from nnmpi.faults.watchdog import Watchdog
from nnmpi.mpi.world import World

pytestmark = pytest.mark.slow

TIMEOUT = 0.3
LONG = 15.0  # seconds: every event must happen within them


class Recorder:
    """Records what the watchdogs of a job do: the lines they write, the ranks that leave, the signals they send."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        self.ended: set[int] = set()
        self.signals: list[int] = []
        monkeypatch.setattr("nnmpi.faults.watchdog.last_words", self.lines.append)
        monkeypatch.setattr(os, "kill", lambda _, number: self.signals.append(number))
        monkeypatch.setattr("nnmpi.mpi.addresses.machine", lambda: "here")
        monkeypatch.setattr(Watchdog, "_leave", lambda watchdog: self.leave(watchdog))

    def leave(self, watchdog: Any) -> None:
        self.ended.add(watchdog._world.rank)
        watchdog._closing.set()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LONG
        while not condition():
            assert time.monotonic() < end, (self.lines, self.ended, self.signals)
            time.sleep(0.02)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


def started(world: World, timeout: float, recoverable: bool = False) -> Watchdog:
    watchdog = Watchdog(world, timeout, recoverable)
    watchdog.start()
    return watchdog


def set_position(world: World, collectives: int, phase: str = "training", epoch: int = 2, step: int = 11) -> None:
    world.position.collectives, world.position.phase = collectives, phase
    world.position.epoch_and_step = lambda: (epoch, step)


def test_rank_that_is_busy_elsewhere_is_named_once(job: Recorder) -> None:
    def rank(world: World) -> None:
        with started(world, TIMEOUT):
            if world.rank == 2:
                set_position(world, 20, "evaluation", 1, 45)
            else:
                set_position(world, 21)
            job.wait_for(lambda: job.ended == {0, 1, 2, 3})

    on_ranks(4, rank)
    (line,) = job.lines
    assert line.startswith(
        "nnmpi: no progress for 0 s: ranks 0, 1, 3 wait in training, epoch 3, step 12, for rank 2 on "
    )
    assert "(still busy in evaluation, after epoch 2, step 45)" in line
    assert line.endswith("The job ends (--stall-timeout 0.3, 0 is off)\n")


def test_rank_that_does_not_answer_is_named(job: Recorder) -> None:
    def rank(world: World) -> None:
        if world.rank == 0:
            channel = SideChannel(world)
            job.wait_for(lambda: job.ended == {1, 2})
            channel.close()
            return
        with started(world, TIMEOUT):
            set_position(world, 21)
            job.wait_for(lambda: job.ended == {1, 2})

    on_ranks(3, rank)
    (line,) = job.lines
    assert "ranks 1, 2 wait" in line
    assert "for rank 0 on host0 (alive, but too busy to answer)" in line
    assert not job.signals


def test_of_those_who_notice_the_lowest_rank_speaks(job: Recorder) -> None:
    """The test plays rank 0, which raises the alarm but never reports. So rank 1 reports after a wait."""
    times: list[float] = []

    def rank(world: World) -> None:
        if world.rank == 1:
            with started(world, TIMEOUT):
                set_position(world, 21)
                job.wait_for(lambda: bool(job.lines))
                times.append(time.monotonic())
            return
        channel = SideChannel(world)
        while not job.lines:
            packet = channel.receive(0.05)
            if packet and world.rank == 0:
                times.append(time.monotonic())
                for kind in (Kind.ANSWER, Kind.ALARM):
                    channel.send(kind, 1, Report(0, 21, 1.0, 2, 11, "training"))
        channel.close()

    on_ranks(3, rank)
    assert times[-1] - times[0] > 2.5  # one second for the answers, two for rank 0


def test_recoverable_job_goes_on_without_the_missing(job: Recorder) -> None:
    def rank(world: World) -> None:
        if world.rank == 1:
            channel = SideChannel(world)
            job.wait_for(lambda: len(job.signals) == 2)
            channel.close()
            return
        with started(world, TIMEOUT, recoverable=True):
            set_position(world, 20 if world.rank == 3 else 21)
            job.wait_for(lambda: len(job.signals) == 2)
            world.position.collectives = 22

    on_ranks(4, rank)
    assert job.signals == [signal.SIGKILL, signal.SIGKILL]  # another rank kills rank 1; rank 3 kills itself
    assert not job.ended
    (line,) = job.lines
    assert "The others go on without them" in line


def test_recoverable_job_ends_where_the_missing_may_only_be_cut_off(
    job: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = threading.local()
    monkeypatch.setattr("nnmpi.mpi.addresses.machine", lambda: hosts.name)
    monkeypatch.setattr(sidechannel, "_own_address", lambda others: "127.0.0.1")

    def rank(world: World) -> None:
        hosts.name = "there" if world.rank == 2 else "here"
        if world.rank == 2:
            channel = SideChannel(world)
            job.wait_for(lambda: job.ended == {0, 1})
            channel.close()
            return
        with started(world, TIMEOUT, recoverable=True):
            set_position(world, 21)
            job.wait_for(lambda: job.ended == {0, 1})

    on_ranks(3, rank)
    assert not job.signals
    (line,) = job.lines
    assert "rank 2 on host2 (never answered, perhaps a firewall stops UDP). The job ends" in line


def test_all_have_arrived_but_it_does_not_end(job: Recorder) -> None:
    def rank(world: World) -> None:
        with started(world, TIMEOUT):
            set_position(world, 21)
            job.wait_for(lambda: job.ended == {0, 1})

    on_ranks(2, rank)
    (line,) = job.lines
    assert "all have arrived there, so MPI itself or the network hangs" in line


def expect_no_alarm(job: Recorder, ranks: int, rank: Callable[[World], None]) -> None:
    on_ranks(ranks, rank)
    assert (job.lines, job.ended, job.signals) == ([], set(), [])


def test_ranks_that_move_give_no_alarm(job: Recorder) -> None:
    def rank(world: World) -> None:
        with started(world, TIMEOUT):
            set_position(world, 1)
            end = time.monotonic() + 4 * TIMEOUT
            while time.monotonic() < end:
                world.position.collectives += 2
                time.sleep(0.01)

    expect_no_alarm(job, 2, rank)


def test_computing_is_no_stall(job: Recorder) -> None:
    def rank(world: World) -> None:
        with started(world, TIMEOUT):
            set_position(world, 20)
            time.sleep(4 * TIMEOUT)

    expect_no_alarm(job, 2, rank)


def test_time_in_which_the_watchdog_itself_did_not_run_does_not_count(
    job: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock jumps by an hour, as after a suspended host or SIGCONT."""
    jump = [0.0]
    now = time.monotonic
    monkeypatch.setattr("nnmpi.faults.watchdog.time.monotonic", lambda: now() + jump[0])

    def rank(world: World) -> None:
        with started(world, 6.0):  # it checks every 0.6 s
            set_position(world, 21 - world.rank)
            time.sleep(0.7)
            jump[0] = 3600.0
            time.sleep(1.8)

    expect_no_alarm(job, 2, rank)


@pytest.mark.parametrize(("timeout", "size"), [(0.0, 2), (5.0, 1)])
def test_no_thread_where_there_is_nothing_to_watch(timeout: float, size: int) -> None:
    world = ThreadWorld(0, [None] * size, threading.Barrier(1))
    before = threading.active_count()
    with started(world, timeout):
        assert threading.active_count() == before


def test_leaving_ends_the_thread_at_once() -> None:
    def rank(world: World) -> float:
        with started(world, 300.0):
            entered = time.monotonic()
        return time.monotonic() - entered

    assert max(on_ranks(3, rank)) < 4.0  # it checks every 5 s
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]


def test_forged_order_to_leave_is_ignored(job: Recorder) -> None:
    def rank(world: World) -> None:
        with started(world, TIMEOUT) as watchdog:
            set_position(world, 20)
            if world.rank == 0:
                channel = watchdog._channel
                key, channel._key = channel._key, b"x" * 32
                for kind in sidechannel.Kind:
                    channel.send(kind, 1, watchdog._report())
                channel._key = key
            time.sleep(2 * TIMEOUT)

    expect_no_alarm(job, 2, rank)


def test_who_was_given_up_is_told_to_end(job: Recorder) -> None:
    def rank(world: World) -> None:
        with started(world, LONG) as watchdog:
            set_position(world, 20)
            if world.rank == 0:
                watchdog.end_ranks([2])
            job.wait_for(lambda: bool(job.signals))

    on_ranks(3, rank)
    assert set(job.signals) == {signal.SIGKILL}
    assert not job.lines
