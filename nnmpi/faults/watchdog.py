"""The watchdog: finds ranks that are stopped or hang, and names them. Without a heartbeat, MPI does not report them.

A stopped rank keeps its connections, so the others would wait for it for ever. In each rank a thread checks from time
to time whether the rank's `Position` has changed; this costs two additions for each collective. When a rank has been in
the same collective for too long, its thread asks the threads of the other ranks for their positions. A rank that
answers that it is in a collective is waiting, too. A rank that answers that it is not, or that does not answer, is
*missing*: all others wait for it.
"""

import os
import signal
import threading
import time
from typing import NoReturn

from nnmpi.faults.side_channel import Kind, Report, SideChannel
from nnmpi.faults.verdict import verdict
from nnmpi.launching.end_launcher import end_launcher
from nnmpi.mpi.last_words import last_words
from nnmpi.mpi.world import World

LONGEST_PERIOD = 5.0  # seconds between two checks, at most


class Watchdog:
    """Watches from `start` on, in a thread, that no collective takes longer than `timeout` seconds; 0 turns it off.

    All ranks call `start` together, and again after the world has shrunk. While the survivors recover, the thread still
    watches the old ranks. Leaving the context ends the thread; each rank does so on its own.

    If a rank is missing for too long, one rank reports it in a line, and all ranks end with status 1. A job is
    `recoverable` if MPI reports dead ranks and the training goes on without them. Then the missing ranks are killed
    instead, if they are sure to end: if each is on the machine of the rank that reports, or answers.

    The line ends with `remark`; by default this names the flag that changes the timeout.

    Only time in which this thread ran counts: there is no alarm after the host slept or this rank was stopped.
    """

    def __init__(self, world: World, timeout: float, recoverable: bool = False, remark: str | None = None) -> None:
        self._world, self._position, self._timeout, self._recoverable = world, world.position, timeout, recoverable
        self._addresses = world.addresses
        self._remark = f" (--stall-timeout {timeout:g}, 0 is off)" if remark is None else remark
        self._period = min(LONGEST_PERIOD, max(0.05, timeout / 10))
        self._patience = min(10.0, max(1.0, timeout / 10))  # how long the others may take to answer
        self._last_collectives, self._unmoved = -1, 0.0  # count at the last check, seconds since it changed
        self._answers: dict[int, Report] = {}
        self._others_move = False
        self._alarms: set[int] = set()  # ranks that also give the alarm
        self._heard_from: set[int] = set()
        self._killed: set[int] = set()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to watch, or start again with the ranks that are left; all of them take part."""
        if self._timeout and self._world.size > 1:
            channel = SideChannel(self._world)
            self._end_thread()
            self._channel, self._me = channel, channel.rank
            self._heard_from, self._last_collectives = set(), -1
            self._closing.clear()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        else:
            self._end_thread()

    def __enter__(self) -> "Watchdog":
        return self

    def end_ranks(self, ranks: list[int]) -> None:
        """Tell those of `ranks` that are still alive to end: the others went on without them.

        A rank that was stopped for a while does harm when it wakes up: it takes others for dead, and tells all ranks.
        """
        if self._thread:
            for rank in 3 * [rank for rank in ranks if rank in self._channel.addresses]:  # a packet may get lost
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
        for rank in self._first_ranks():
            self._channel.send(Kind.ASK, rank, self._report())
        before = time.monotonic()
        while not self._closing.is_set():
            self._listen(self._period)
            now = time.monotonic()
            elapsed, before = min(now - before, 2 * self._period), now
            if self._position.collectives != self._last_collectives:
                self._last_collectives, self._unmoved = self._position.collectives, 0.0
                continue
            self._unmoved += elapsed
            if self._last_collectives % 2 and self._unmoved >= self._timeout:
                self._inquire()
                before = time.monotonic()

    def _first_ranks(self) -> list[int]:
        """Return one rank of each other machine; if it never answers, that machine may be unreachable."""
        first: dict[str, int] = {}
        for rank in self._channel.addresses:
            first.setdefault(self._addresses.machine_of(rank), rank)
        return [rank for name, rank in first.items() if name != self._addresses.machine_of(self._me)]

    def _listen(self, seconds: float, until_answered: bool = False) -> None:
        """Handle packets for so many seconds; with `until_answered`, only until all ranks have answered."""
        if not self._channel.usable:
            self._closing.wait(seconds)
            return
        end = time.monotonic() + seconds
        while not self._closing.is_set() and (remaining := end - time.monotonic()) > 0:
            packet = self._channel.receive(remaining)
            if packet:
                self._handle(*packet)
                if until_answered and len(self._answers) == len(self._channel.addresses) - 1:
                    return

    def _handle(self, kind: Kind, report: Report) -> None:
        sender = report.rank
        self._heard_from.add(sender)
        if kind == Kind.LEAVE:
            self._leave()
        elif kind == Kind.DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == Kind.CALM:
            self._unmoved = 0.0
        elif kind == Kind.ANSWER:
            before = self._answers.setdefault(sender, report)
            self._others_move = self._others_move or before.collectives != report.collectives
        else:
            if kind == Kind.ALARM:
                self._alarms.add(sender)
            self._channel.send(Kind.ANSWER, sender, self._report())

    def _inquire(self) -> None:
        """Ask the other ranks for their positions, and act if these leave no doubt."""
        me, ranks = self._me, set(self._channel.addresses)
        self._answers, self._alarms, self._others_move = {}, set(), False
        end = time.monotonic() + self._patience
        rounds = 0
        while time.monotonic() < end and (rounds < 2 or len(self._answers) < len(ranks) - 1):
            for rank in ranks - {me}:
                if rounds < 2 or rank not in self._answers:
                    self._channel.send(Kind.ALARM, rank, self._report())
            # the first two rounds are never cut short: they show which ranks move, and which others give the alarm
            self._listen(self._patience / 10, until_answered=rounds >= 2)
            rounds += 1
        if self._alarms and min(self._alarms) < me:
            self._listen(2 * self._patience)  # a lower rank gives the alarm, too: it reports
        if self._closing.is_set() or self._position.collectives != self._last_collectives or self._others_move:
            self._unmoved = 0.0
            return
        if not self._unmoved:  # a CALM packet has reset it
            return
        waiting = {rank for rank, report in self._answers.items() if report.waits} | {me}
        missing = sorted(ranks - waiting)
        if not missing:  # the last rank may have come just now, and the collective takes its time
            self._unmoved = min([self._unmoved, *(report.seconds for report in self._answers.values())])
            if self._unmoved < self._timeout:
                return
        self._act(missing)

    def _act(self, missing: list[int]) -> None:
        """Report the `missing` ranks. Then end them, or the job."""
        machine_of = self._addresses.machine_of
        silent = [rank for rank in missing if rank not in self._answers]
        near = {rank for rank in silent if machine_of(rank) == machine_of(self._me)}
        states = {rank: self._addresses.state(rank) for rank in near}
        goes_on = self._recoverable and bool(set(missing) - self._killed) and near == set(silent)
        heard_from = {machine_of(rank) for rank in self._heard_from}
        unreached = {rank for rank in silent if rank not in near and machine_of(rank) not in heard_from}
        hosts = {rank: self._addresses.host_of(rank) for rank in self._channel.addresses}
        text = verdict(self._report(), hosts, missing, self._answers, states, unreached, goes_on)
        last_words(f"nnmpi: {text}{self._remark}\n")
        if goes_on:
            self._killed.update(missing)
            for rank in missing:
                if rank in self._answers:
                    self._channel.send(Kind.DIE, rank, self._report())
                else:
                    self._addresses.kill([rank])
            self._tell(Kind.CALM)
            self._unmoved = 0.0
        else:
            self._tell(Kind.LEAVE)
            self._leave()

    def _tell(self, kind: Kind) -> None:
        for _ in range(3):  # a packet may get lost
            for rank in set(self._channel.addresses) - {self._me} - self._killed:
                self._channel.send(kind, rank, self._report())
            time.sleep(0.05)

    def _leave(self) -> NoReturn:
        """End this rank. The launcher then ends the job, unless it tolerates faults.

        If the job has several hosts, end the launcher, too: it may wait for a host that cannot be reached.
        """
        addresses = self._addresses
        if self._world.recovers:
            addresses.kill([rank for rank in self._channel.addresses if addresses.state(rank) in ("T", "t")])
        if not (
            addresses.on_one_host
            or (
                addresses.is_first_on_host
                and end_launcher("note: stopping mpirun, which waits for a host that does not answer")
            )
        ):
            time.sleep(1)  # MPI ends the rank that must end the launcher as soon as it notices that others have left
        self._world.before_exit()
        os._exit(1)
