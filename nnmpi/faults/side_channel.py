"""UDP packets between the watchdogs of the ranks. They cannot use MPI, which only one thread of a rank may call.

Each packet carries a keyed digest (HMAC). Each world has a new random key, which rank 0 sends to all ranks over MPI.
Packets with a wrong length, digest or sender are ignored.
"""

import contextlib
import hmac
import json
import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

from nnmpi.mpi.world import World

PACKET = struct.Struct("<BIQdQQ16s")  # kind, rank, collectives, seconds, epoch, step, phase
DIGEST = 16  # bytes of SHA-256


class Kind(IntEnum):
    """The purpose of a packet."""

    ASK = 1  # asks for the position of the receiver
    ALARM = 2  # the same, from a rank that has waited too long
    ANSWER = 3  # the position of the sender
    CALM = 4  # the missing ranks have been ended; the others go on
    LEAVE = 5  # the job ends: the receiver ends itself
    DIE = 6  # the others go on without the receiver, which ends itself


@dataclass(frozen=True)
class Report:
    """The position of a rank (see `Position`), and the seconds for which it has not changed."""

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


class SideChannel:
    """The sockets of all ranks of a `world`; all ranks make it together. Ranks are numbered as at the start.

    Attributes
    ----------
    addresses : dict
        The address of each rank's socket; None if the rank could not open one.
    """

    def __init__(self, world: World) -> None:
        self.rank = world.initial_ranks[world.rank]
        hosts, machines = world.addresses.hosts(), world.addresses.machines()
        own_machine = machines[world.rank]
        others = dict.fromkeys(host for host, name in zip(hosts, machines, strict=True) if name != own_machine)
        self._socket: socket.socket | None = None
        address = None
        with contextlib.suppress(OSError):
            ip = _own_address(list(others)) if len(set(machines)) > 1 else "127.0.0.1"
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind((ip, 0))
            address = self._socket.getsockname()
        self._key = world.gather_bytes(os.urandom(32))[0]
        self.addresses: dict[int, tuple[str, int] | None] = {}
        for rank, text in zip(world.initial_ranks, world.gather_bytes(json.dumps(address).encode()), strict=True):
            address = json.loads(text)
            self.addresses[rank] = address and (address[0], address[1])

    @property
    def usable(self) -> bool:
        """Whether this rank has a socket."""
        return self.addresses[self.rank] is not None

    def send(self, kind: Kind, to: int, report: Report) -> None:
        """Send a packet to a rank; it may get lost."""
        address = self.addresses[to]
        if self._socket and address:
            with contextlib.suppress(OSError):
                self._socket.sendto(pack(self._key, kind, report), address)

    def receive(self, seconds: float) -> tuple[Kind, Report] | None:
        """Return the next packet; None if it is not valid, or none came in about `seconds`, or `wake` was called."""
        assert self._socket
        self._socket.settimeout(max(seconds, 1e-3))
        try:
            packet = unpack(self._key, self._socket.recv(256))
            return packet if packet and packet[1].rank in self.addresses else None
        except OSError:  # nothing came
            return None

    def wake(self) -> None:
        """Make `receive` return in another thread."""
        address = self.addresses[self.rank]
        if self._socket and address:
            with contextlib.suppress(OSError):
                self._socket.sendto(b"", address)

    def close(self) -> None:
        """Close the socket."""
        if self._socket:
            self._socket.close()


def pack(key: bytes, kind: Kind, report: Report) -> bytes:
    """Return the bytes of a packet: its content and its digest."""
    phase = report.phase.encode()[:16]
    body = PACKET.pack(kind, report.rank, report.collectives, report.seconds, report.epoch, report.step, phase)
    return body + hmac.digest(key, body, "sha256")[:DIGEST]


def unpack(key: bytes, packet: bytes) -> tuple[Kind, Report] | None:
    """Return the content of a packet; None if no rank of this world made it."""
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
    """Return the address of the network interface that leads to the other hosts; raise an OSError if there is none."""
    targets = []
    for name in others[:2]:  # not all: to look up an unknown name may take seconds
        with contextlib.suppress(OSError):
            targets.append(socket.gethostbyname(name))
    for target in (*targets, "192.0.2.1"):  # the last one is reserved, and shows the default route
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect((target, 9))  # sends nothing
            ip = str(probe.getsockname()[0])
            if not ip.startswith("127."):
                return ip
    raise OSError("no network")
