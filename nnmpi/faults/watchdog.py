"""The watchdog: finds the ranks that are stopped or hung, which MPI never reports, and says so.

A rank that is stopped keeps its connections, so the others wait for it for ever. In each rank a thread looks now and
then whether the rank has moved, see `Position`: the step pays for two additions. When a rank has been in the same
collective for too long, its thread asks those of the others where they are. Who answers that it is in a collective
waits like ourselves; who answers that it is not, or does not answer, is whom all wait for.
"""

import contextlib
import os
import signal
import threading
import time
from typing import NoReturn

from nnmpi.faults.side_channel import Kind, Report, SideChannel
from nnmpi.faults.verdict import verdict
from nnmpi.launching.end_launcher import end_launcher
from nnmpi.mpi.host import process
from nnmpi.mpi.last_words import last_words
from nnmpi.mpi.world import World

LONGEST_PERIOD = 5.0  # seconds between two looks


class Watchdog:
    """From `start` on a thread watches that no collective takes longer than `timeout` seconds; 0: it does not.

    All ranks start together, and again when the world has got smaller; until then, and so while the survivors find
    together, the thread goes on as it was. Leaving the context ends it, on each rank alone.

    If a rank is missing for too long, one rank says so in a line and all end with status 1. If the job is
    `recoverable`, that is MPI reports dead ranks and the training goes on without them, the missing ranks are killed
    instead, where that is safe: where they are on the host of the rank that found out, or answer, so that there is no
    doubt that they end.

    A `remark`, by default on the flag that changes the timeout, stands at the end of that line.

    Only time in which this thread ran counts: a host that slept or a rank that was stopped itself gives no alarm.
    """

    def __init__(self, world: World, timeout: float, recoverable: bool = False, remark: str | None = None) -> None:
        self._world, self._position, self._timeout, self._recoverable = world, world.position, timeout, recoverable
        self._remark = f" (--stall-timeout {timeout:g}, 0 is off)" if remark is None else remark
        self._period = min(LONGEST_PERIOD, max(0.05, timeout / 10))
        self._patience = min(10.0, max(1.0, timeout / 10))  # how long the others may take to answer
        self._seen, self._unmoved = -1, 0.0
        self._answers: dict[int, Report] = {}
        self._moving = False
        self._alarms: set[int] = set()
        self._heard: set[int] = set()
        self._killed: set[int] = set()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, or begin anew with the ranks there are; all of them take part."""
        if self._timeout and self._world.size > 1:
            channel = SideChannel(self._world)
            self._end_thread()
            self._channel, self._me = channel, channel.rank
            self._heard, self._seen = set(), -1
            self._closing.clear()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        else:
            self._end_thread()

    def __enter__(self) -> "Watchdog":
        return self

    def end_ranks(self, ranks: list[int]) -> None:
        """Tell those of `ranks` that are alive after all to end: the others went on without them.

        One that was stopped for a while would do harm when it wakes up: it takes others for dead, and says so to all.
        """
        if self._thread:
            for rank in 3 * [rank for rank in ranks if rank in self._channel.peers]:  # a packet may get lost
                self._channel.send(Kind.DIE, rank, self._report())

    def __exit__(self, *error: object) -> None:
        self._end_thread()

    def _end_thread(self) -> None:
        if self._thread:
            self._closing.set()
            self._channel.wake()
            self._thread.join()
            self._channel.close()
            self._thread = None

    def _report(self) -> Report:
        epoch, step = self._position.epoch_and_step()
        return Report(self._me, self._position.collectives, self._unmoved, epoch, step, self._position.phase)

    def _watch(self) -> None:
        for rank in self._nearest():
            self._channel.send(Kind.ASK, rank, self._report())
        before = time.monotonic()
        while not self._closing.is_set():
            self._listen(self._period)
            now = time.monotonic()
            passed, before = min(now - before, 2 * self._period), now
            if self._position.collectives != self._seen:
                self._seen, self._unmoved = self._position.collectives, 0.0
                continue
            self._unmoved += passed
            if self._seen % 2 and self._unmoved >= self._timeout:
                self._inquire()
                before = time.monotonic()

    def _nearest(self) -> list[int]:
        """One rank of each other machine: who never answers can perhaps not be reached at all."""
        first: dict[str, int] = {}
        for rank, peer in self._channel.peers.items():
            first.setdefault(peer.machine, rank)
        return [rank for name, rank in first.items() if name != self._channel.peers[self._me].machine]

    def _listen(self, seconds: float, everybody: bool = False) -> None:
        """Answer the others for so many seconds; `everybody`: no longer than until all have answered."""
        if not self._channel.usable:
            self._closing.wait(seconds)
            return
        end = time.monotonic() + seconds
        while not self._closing.is_set() and (left := end - time.monotonic()) > 0:
            packet = self._channel.receive(left)
            if packet:
                self._take(*packet)
                if everybody and len(self._answers) == len(self._channel.peers) - 1:
                    return

    def _take(self, kind: Kind, report: Report) -> None:
        sender = report.rank
        self._heard.add(sender)
        if kind == Kind.LEAVE:
            self._leave()
        elif kind == Kind.DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == Kind.CALM:
            self._unmoved = 0.0
        elif kind == Kind.ANSWER:
            before = self._answers.setdefault(sender, report)
            self._moving = self._moving or before.collectives != report.collectives
        else:
            if kind == Kind.ALARM:
                self._alarms.add(sender)
            self._channel.send(Kind.ANSWER, sender, self._report())

    def _inquire(self) -> None:
        """Ask where the others are; if that leaves no doubt, act."""
        me, ranks = self._me, set(self._channel.peers)
        self._answers, self._alarms, self._moving = {}, set(), False
        end = time.monotonic() + self._patience
        rounds = 0
        while time.monotonic() < end and (rounds < 2 or len(self._answers) < len(ranks) - 1):
            for rank in ranks - {me}:
                if rounds < 2 or rank not in self._answers:
                    self._channel.send(Kind.ALARM, rank, self._report())
            self._listen(
                self._patience / 10, everybody=rounds >= 2
            )  # two whole rounds tell who moves, and who else asks
            rounds += 1
        if self._alarms and min(self._alarms) < me:
            self._listen(2 * self._patience)  # that rank asks, too: let it speak
        if self._closing.is_set() or self._position.collectives != self._seen or self._moving:
            self._unmoved = 0.0
            return
        if not self._unmoved:  # it was CALM
            return
        waiting = {rank for rank, report in self._answers.items() if report.waits} | {me}
        missing = sorted(ranks - waiting)
        if not missing:  # the last of them may have come just now, and what it brings takes its time
            self._unmoved = min([self._unmoved, *(report.seconds for report in self._answers.values())])
            if self._unmoved < self._timeout:
                return
        self._act(missing)

    def _act(self, missing: list[int]) -> None:
        peers, me = self._channel.peers, self._me
        silent = [rank for rank in missing if rank not in self._answers]
        near = {rank for rank in silent if peers[rank].machine == peers[me].machine}
        states = {rank: self._state(rank) for rank in near}
        goes_on = self._recoverable and bool(set(missing) - self._killed) and near == set(silent)
        heard = {peers[rank].machine for rank in self._heard}
        unreached = {rank for rank in silent if rank not in near and peers[rank].machine not in heard}
        text = verdict(
            self._report(), {r: p.host for r, p in peers.items()}, missing, self._answers, states, unreached, goes_on
        )
        last_words(f"nnmpi: {text}{self._remark}\n")
        if goes_on:
            for rank in missing:
                self._end(rank)
            self._tell(Kind.CALM)
            self._unmoved = 0.0
        else:
            self._tell(Kind.LEAVE)
            self._leave()

    def _state(self, rank: int) -> str | None:
        """The state of a rank's process on this machine; None if it is dead."""
        peer = self._channel.peers[rank]
        found = process(peer.pid)
        return found[0] if found and found[1] == peer.started else None

    def _end(self, rank: int) -> None:
        self._killed.add(rank)
        if rank in self._answers:
            self._channel.send(Kind.DIE, rank, self._report())
        else:
            self._kill(rank)

    def _kill(self, rank: int) -> None:
        if self._state(rank):  # else its number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._channel.peers[rank].pid, signal.SIGKILL)

    def _tell(self, kind: Kind) -> None:
        for _ in range(3):  # a packet may get lost
            for rank in set(self._channel.peers) - {self._me} - self._killed:
                self._channel.send(kind, rank, self._report())
            time.sleep(0.05)

    def _leave(self) -> NoReturn:
        """End this rank; a launcher then ends the job, unless it was told to tolerate faults.

        Where the job has several hosts, the launcher is ended, too: it may wait for one that cannot be reached.
        """
        if self._world.recovers:
            peers = self._channel.peers
            for rank, peer in peers.items():
                if peer.machine == peers[self._me].machine and self._state(rank) in ("T", "t"):
                    self._kill(rank)
        members = self._world.addresses
        if not (
            members.on_one_host
            or (
                members.is_first_on_host
                and end_launcher("note: stopping mpirun, which waits for a host that does not answer")
            )
        ):
            time.sleep(1)  # MPI ends the rank that has to see to it as soon as it notices that others have left
        self._world.before_exit()
        os._exit(1)
