"""What the ranks' watchdogs tell each other beside MPI, which only one thread of a rank may call: small UDP packets.

Each packet carries a keyed digest (HMAC); the key is drawn for each world and handed round over MPI. What has not the
right length, digest or sender is ignored.
"""

import contextlib
import hmac
import json
import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

from nnmpi.mpi.host import machine, process
from nnmpi.mpi.world import World

PACKET = struct.Struct("<BIQdQQ16s")  # kind, rank, collectives, seconds, epoch, step, phase
DIGEST = 16  # bytes of SHA-256


class Kind(IntEnum):
    """What a packet is for."""

    ASK = 1  # where are you?
    ALARM = 2  # the same, from a rank that has waited too long
    ANSWER = 3
    CALM = 4  # the ranks that were missing are ended; go on
    LEAVE = 5  # the job ends: leave by yourself
    DIE = 6  # the others go on without you


@dataclass(frozen=True)
class Report:
    """Where a rank is: what `Position` says, and for how many seconds nothing has changed."""

    rank: int
    collectives: int
    seconds: float
    epoch: int
    step: int
    phase: str

    @property
    def waits(self) -> bool:
        """Whether the rank is inside a collective."""
        return self.collectives % 2 == 1


@dataclass(frozen=True)
class Peer:
    """A rank as the others know it: ``address`` is None where it could not get a socket."""

    host: str
    machine: str
    pid: int
    started: int
    address: tuple[str, int] | None


class SideChannel:
    """The sockets of all ranks of a `world`; all ranks make theirs at once. Ranks have their numbers of the start."""

    def __init__(self, world: World) -> None:
        self.rank = world.initial_ranks[world.rank]
        here = machine()
        machines = [text.decode(errors="replace") for text in world.gather_bytes(here.encode())]
        hosts = world.addresses.hosts()
        others = dict.fromkeys(host for host, name in zip(hosts, machines, strict=True) if name != here)
        self._socket: socket.socket | None = None
        address = None
        with contextlib.suppress(OSError):
            ip = _own_address(list(others)) if len(set(machines)) > 1 else "127.0.0.1"
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind((ip, 0))
            address = self._socket.getsockname()
        pid = os.getpid()
        own = process(pid)
        mine = json.dumps([pid, own[1] if own else 0, address]).encode()
        self._key = world.gather_bytes(os.urandom(32))[0]
        self.peers: dict[int, Peer] = {}
        for rank, host, name, text in zip(world.initial_ranks, hosts, machines, world.gather_bytes(mine), strict=True):
            pid, started, address = json.loads(text)
            self.peers[rank] = Peer(host, name, pid, started, address and (address[0], address[1]))

    @property
    def usable(self) -> bool:
        """Whether this rank has a socket."""
        return self.peers[self.rank].address is not None

    def send(self, kind: Kind, to: int, report: Report) -> None:
        """Send a packet to a rank; it may get lost."""
        address = self.peers[to].address
        if self._socket and address:
            with contextlib.suppress(OSError):
                self._socket.sendto(pack(self._key, kind, report), address)

    def receive(self, seconds: float) -> tuple[Kind, Report] | None:
        """The next packet, or None if none that is ours came within about so many seconds, or `wake` was called."""
        assert self._socket
        self._socket.settimeout(max(seconds, 1e-3))
        try:
            packet = unpack(self._key, self._socket.recv(256))
            return packet if packet and packet[1].rank in self.peers else None
        except OSError:  # nothing came
            return None

    def wake(self) -> None:
        """Let `receive`, in another thread, return."""
        address = self.peers[self.rank].address
        if self._socket and address:
            with contextlib.suppress(OSError):
                self._socket.sendto(b"", address)

    def close(self) -> None:
        """Give the socket back."""
        if self._socket:
            self._socket.close()


def pack(key: bytes, kind: Kind, report: Report) -> bytes:
    """A packet: what it says, and its digest."""
    phase = report.phase.encode()[:16]
    body = PACKET.pack(kind, report.rank, report.collectives, report.seconds, report.epoch, report.step, phase)
    return body + hmac.digest(key, body, "sha256")[:DIGEST]


def unpack(key: bytes, packet: bytes) -> tuple[Kind, Report] | None:
    """What a packet says, or None if it was not made by a rank of this world."""
    if len(packet) != PACKET.size + DIGEST:
        return None
    body, digest = packet[: PACKET.size], packet[PACKET.size :]
    if not hmac.compare_digest(digest, hmac.digest(key, body, "sha256")[:DIGEST]):
        return None
    kind, rank, collectives, seconds, epoch, step, phase = PACKET.unpack(body)
    if kind not in list(Kind):
        return None
    return Kind(kind), Report(rank, collectives, seconds, epoch, step, phase.rstrip(b"\0").decode(errors="replace"))


def _own_address(others: list[str]) -> str:
    """The address of the interface that leads to the other hosts.

    Raises
    ------
    OSError
        If there is none.
    """
    targets = []
    for name in others[:2]:  # a name that is not known may take seconds
        with contextlib.suppress(OSError):
            targets.append(socket.gethostbyname(name))
    for target in (*targets, "192.0.2.1"):  # the last is nobody's, and leads to where the default route does
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect((target, 9))  # sends nothing
            ip = str(probe.getsockname()[0])
            if not ip.startswith("127."):
                return ip
    raise OSError("no network")
