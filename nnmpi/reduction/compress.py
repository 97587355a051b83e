"""Codecs: how numbers are written into messages between hosts, unchanged or in 16 bits.

A piece of the step vector travels twice: first as a partial sum that grows from host to host, then as the whole sum.
16 bits halve the bytes of float32. Sums are made in the precision of the numbers, and rounded for each message.
"""

import math

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array

WIRE_FORMATS = ("fp16", "bf16")
TARGET_EXPONENT = 15  # the largest number of a message is scaled to [2**14, 2**15): float16 ends below 2**16
LARGEST = float(np.finfo(np.float32).max)
MAX_EXPONENT = 126  # scales are within 2**±126, so that a scale and its inverse are float32 numbers


class Exact:
    """Numbers travel unchanged. The whole sum is sent from and received into this rank's numbers."""

    def make_buffers(self, own: Array) -> tuple[Array, Array]:
        """Return a new buffer for the partial sum, and `own` for the whole sum."""
        return np.empty_like(own), own

    def put(self, own: Array, part: Array) -> None:
        """Copy `own` to `part`."""
        part[:] = own

    def add(self, own: Array, part: Array) -> None:
        """Add `own` to `part`."""
        np.add(own, part, part)

    def finish(self, own: Array, part: Array, whole: Array) -> None:
        """Add `part` to `own`, which is also `whole`."""
        np.add(own, part, own)

    def take(self, whole: Array, own: Array) -> None:
        """Do nothing: `whole` is `own`."""


class Halved:
    """Numbers travel in 16 bits and are added in their own precision; all ranks finish with the same sums.

    The rank that completes a sum rounds it, sends the rounded sum and uses it itself, as all other ranks do.

    Parameters
    ----------
    wire_format
        ``fp16``: IEEE half precision, 11 significant bits. Each message is scaled by a power of two, so that its
        largest number fits, and contains the scale. ``bf16``: 8 significant bits and the exponents of float32.
    longest
        The number of numbers in the longest piece.
    """

    def __init__(self, wire_format: str, longest: int) -> None:
        self._numbers: npt.NDArray[np.float32] = np.empty(longest, np.float32)
        self._scratch: npt.NDArray[np.uint32] = np.empty(longest, np.uint32)
        self._write, self._read = (
            (self._to_fp16, self._from_fp16) if wire_format == "fp16" else (self._to_bf16, self._from_bf16)
        )

    def make_buffers(self, own: Array) -> tuple[Array, Array]:
        """Return two messages of 16-bit numbers. The first two numbers hold the scale, which ``bf16`` does not use."""
        return np.zeros(2 + own.size, np.uint16), np.zeros(2 + own.size, np.uint16)

    def put(self, own: Array, part: Array) -> None:
        """Round `own` into `part`."""
        self._write(own, part)

    def add(self, own: Array, part: Array) -> None:
        """Add `own` to `part`, and round the sum."""
        numbers = self._read(part)
        np.add(own, numbers, numbers)
        self._write(numbers, part)

    def finish(self, own: Array, part: Array, whole: Array) -> None:
        """Add `part` to `own`, round the sum into `whole`, and read it back, so that all ranks have the same."""
        np.add(own, self._read(part), own)
        self._write(own, whole)
        self.take(whole, own)

    def take(self, whole: Array, own: Array) -> None:
        """Read `whole` into `own`."""
        own[:] = self._read(whole)

    def _to_fp16(self, numbers: Array, message: Array) -> None:
        """Round to float16 as NumPy does, in half the time. If a number is no finite float32, all are read as NaN."""
        largest = max(float(numbers.max()), -float(numbers.min()))
        fits = largest <= LARGEST
        exponent = TARGET_EXPONENT - math.frexp(largest)[1] if fits else 0
        scale = 2.0 ** max(-MAX_EXPONENT, min(MAX_EXPONENT, exponent))
        message[:2].view(np.float32)[0] = 1 / scale if fits else math.nan
        scaled, scratch = self._numbers[: numbers.size], self._scratch[: numbers.size]
        bits = scaled.view(np.uint32)
        np.multiply(numbers, scale, scaled)
        np.multiply(scaled, 2.0**-112, scaled)  # changes the exponent bias from 127 (float32) to 15 (float16)
        self._round(bits, scratch, 13)
        np.right_shift(bits, 16, scratch)
        np.bitwise_and(scratch, 0x8000, scratch)  # the sign
        np.right_shift(bits, 13, bits)
        np.bitwise_and(bits, 0x7FFF, bits)
        np.bitwise_or(bits, scratch, bits)
        message[2:] = bits

    def _from_fp16(self, message: Array) -> Array:
        numbers = self._numbers[: message.size - 2]
        bits = numbers.view(np.int32)
        bits[:] = message[2:].view(np.int16)
        np.left_shift(bits, 13, bits)
        np.bitwise_and(bits, -0x70000001, bits)  # keep only the first of four copies of the sign
        np.multiply(numbers, 2.0**112, numbers)
        np.multiply(numbers, message[:2].view(np.float32)[0], numbers)
        return numbers

    @staticmethod
    def _round(bits: npt.NDArray[np.uint32], scratch: npt.NDArray[np.uint32], digits: int) -> None:
        """Change `bits` so that cutting off the last `digits` bits rounds to the nearest number, ties to even."""
        np.right_shift(bits, digits, scratch)
        np.bitwise_and(scratch, 1, scratch)  # 1 if the last bit that stays is odd
        np.add(scratch, (1 << digits - 1) - 1, scratch)
        np.add(bits, scratch, bits)

    def _to_bf16(self, numbers: Array, message: Array) -> None:
        """Round each number to the upper half of a float32."""
        rounded, scratch = self._numbers[: numbers.size], self._scratch[: numbers.size]
        bits = rounded.view(np.uint32)
        rounded[:] = numbers
        self._round(bits, scratch, 16)
        np.right_shift(bits, 16, bits)
        message[2:] = bits

    def _from_bf16(self, message: Array) -> Array:
        numbers = self._numbers[: message.size - 2]
        bits = numbers.view(np.uint32)
        bits[:] = message[2:]
        np.left_shift(bits, 16, bits)
        return numbers


Codec = Exact | Halved
