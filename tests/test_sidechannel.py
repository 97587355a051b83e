"""Packets of the watchdogs are read back; packets of other jobs and damaged packets are ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.faults.side_channel import DIGEST, PACKET, Kind, Report, pack, unpack

KEY = b"k" * 32
REPORT = Report(3, 12345, 6.5, 7, 8, "training")


@pytest.mark.parametrize("kind", Kind)
def test_packet_is_read_again(kind: Kind) -> None:
    assert unpack(KEY, pack(KEY, kind, REPORT)) == (kind, REPORT)


def test_every_phase_is_told_in_full() -> None:
    for phase in ("start-up", "training", "evaluation", "checkpoint", "end"):
        report = Report(0, 1, 0.0, 0, 0, phase)
        assert unpack(KEY, pack(KEY, Kind.ANSWER, report)) == (Kind.ANSWER, report)


def test_packet_of_another_job_is_ignored() -> None:
    assert unpack(b"x" * 32, pack(KEY, Kind.LEAVE, REPORT)) is None


@given(st.integers(0, PACKET.size + DIGEST - 1), st.integers(0, 7))
def test_one_wrong_bit_is_enough(byte: int, bit: int) -> None:
    packet = bytearray(pack(KEY, Kind.LEAVE, REPORT))
    packet[byte] ^= 1 << bit
    assert unpack(KEY, bytes(packet)) is None


@given(st.binary(max_size=200))
def test_anything_else_is_ignored(packet: bytes) -> None:
    assert unpack(KEY, packet) is None


def test_unknown_kind_is_ignored() -> None:
    assert unpack(KEY, pack(KEY, 99, REPORT)) is None  # type: ignore[arg-type]
