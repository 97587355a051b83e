"""What numbers look like on the way from host to host: as they are, or in half as many bytes."""

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nnmpi.nn.arrays import Array

Bytes = npt.NDArray[Any]  # what is sent
FORMS = ("fp16", "bf16")
LARGEST = 15  # float16 ends below 2**16: the largest number of a message is brought between 2**14 and 2**15
STEEPEST = 126  # no scale is beyond 2**±126, so that it and its inverse are numbers of float32


class Codec(Protocol):
    """How the numbers of a piece travel: to be added up on the way, then to be handed round as the sum of all."""

    def room(self, own: Array) -> tuple[Bytes, Bytes]:
        """Memory for a partial sum that travels, and for the whole sum that does; `own` is a rank's piece."""

    def put(self, own: Array, part: Bytes) -> None:
        """Begin: what travels is this rank's own."""

    def add(self, own: Array, part: Bytes) -> None:
        """Add this rank's own to what travels."""

    def end(self, own: Array, part: Bytes, whole: Bytes) -> None:
        """Add what travelled to this rank's own: the sum of all, which travels now."""

    def take(self, whole: Bytes, own: Array) -> None:
        """Take the sum of all as it has come."""


class Exact:
    """Numbers travel as they are; the sum of all lies where a rank's own numbers were."""

    def room(self, own: Array) -> tuple[Bytes, Bytes]:
        """Memory for the partial sum; the sum of all needs none."""
        return np.empty_like(own), own

    def put(self, own: Array, part: Bytes) -> None:
        """Copy."""
        part[:] = own

    def add(self, own: Array, part: Bytes) -> None:
        """Add."""
        np.add(own, part, part)

    def end(self, own: Array, part: Bytes, whole: Bytes) -> None:
        """Add."""
        np.add(own, part, own)

    def take(self, whole: Bytes, own: Array) -> None:
        """Nothing is left to do."""


class Halved:
    """Numbers travel in 16 bits and are added in the precision that they have; all ranks end with the same sums.

    Who has the sum of all first rounds it, sends it and takes what it has sent: so do the others.

    Parameters
    ----------
    form
        ``fp16``: 11 digits of the mantissa (IEEE's half precision), each message scaled by a power of two, which it
        brings along, so that its largest number fits; ``bf16``: 8 digits and the exponents of float32.
    longest
        How many numbers the longest piece has.
    """

    def __init__(self, form: str, longest: int) -> None:
        self._numbers: npt.NDArray[np.float32] = np.empty(longest, np.float32)
        self._odd: npt.NDArray[np.uint32] = np.empty(longest, np.uint32)
        self._write, self._read = (
            (self._to_fp16, self._from_fp16) if form == "fp16" else (self._to_bf16, self._from_bf16)
        )

    def room(self, own: Array) -> tuple[Bytes, Bytes]:
        """Two messages: the scale, if there is one, takes the place of two numbers."""
        return np.zeros(2 + own.size, np.uint16), np.zeros(2 + own.size, np.uint16)

    def put(self, own: Array, part: Bytes) -> None:
        """Round."""
        self._write(own, part)

    def add(self, own: Array, part: Bytes) -> None:
        """Add, and round again."""
        numbers = self._read(part)
        np.add(own, numbers, numbers)
        self._write(numbers, part)

    def end(self, own: Array, part: Bytes, whole: Bytes) -> None:
        """Add, round once for all, and take what the others will get."""
        np.add(own, self._read(part), own)
        self._write(own, whole)
        self.take(whole, own)

    def take(self, whole: Bytes, own: Array) -> None:
        """Widen."""
        own[:] = self._read(whole)

    def _to_fp16(self, numbers: Array, message: Bytes) -> None:
        """As NumPy casts, in half of its time; a piece with a number that is not finite becomes NaN as a whole."""
        largest = max(float(numbers.max()), -float(numbers.min()))
        exponent = LARGEST - math.frexp(largest)[1] if 0 < largest < math.inf else 0
        scale = 2.0 ** max(-STEEPEST, min(STEEPEST, exponent))
        message[:2].view(np.float32)[0] = 1 / scale if largest < math.inf else math.nan
        room, odd = self._numbers[: numbers.size], self._odd[: numbers.size]
        bits = room.view(np.uint32)
        np.multiply(numbers, scale, room)
        np.multiply(room, 2.0**-112, room)  # now the exponent counts from where that of float16 does
        self._round(bits, odd, 13)
        np.right_shift(bits, 16, odd)
        np.bitwise_and(odd, 0x8000, odd)  # the sign
        np.right_shift(bits, 13, bits)
        np.bitwise_and(bits, 0x7FFF, bits)
        np.bitwise_or(bits, odd, bits)
        message[2:] = bits

    def _from_fp16(self, message: Bytes) -> Array:
        room = self._numbers[: message.size - 2]
        bits = room.view(np.int32)
        bits[:] = message[2:].view(np.int16)
        np.left_shift(bits, 13, bits)
        np.bitwise_and(bits, -0x70000001, bits)  # of the four copies of the sign the first
        np.multiply(room, 2.0**112, room)
        np.multiply(room, message[:2].view(np.float32)[0], room)
        return room

    @staticmethod
    def _round(bits: npt.NDArray[np.uint32], odd: npt.NDArray[np.uint32], digits: int) -> None:
        """Add what makes cutting off the last `digits` a rounding to the nearest, of two equally near to the even."""
        np.right_shift(bits, digits, odd)
        np.bitwise_and(odd, 1, odd)
        np.add(odd, (1 << digits - 1) - 1, odd)
        np.add(bits, odd, bits)

    def _to_bf16(self, numbers: Array, message: Bytes) -> None:
        """The upper half of each float32, rounded."""
        room, odd = self._numbers[: numbers.size], self._odd[: numbers.size]
        bits = room.view(np.uint32)
        room[:] = numbers
        self._round(bits, odd, 16)
        np.right_shift(bits, 16, bits)
        message[2:] = bits

    def _from_bf16(self, message: Bytes) -> Array:
        room = self._numbers[: message.size - 2]
        bits = room.view(np.uint32)
        bits[:] = message[2:]
        np.left_shift(bits, 16, bits)
        return room
