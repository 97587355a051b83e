"""The samples that a rank holds, on their way from a source to the parts that a network works on."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.digest import digest
from nnmpi.data.held import HeldRows, Indices
from nnmpi.data.parts import Part, exponent, standardized_targets
from nnmpi.data.scaler import AT_ONCE, Scaler
from nnmpi.data.shards import held_shards
from nnmpi.data.sources import Source
from nnmpi.data.table import Preparation
from nnmpi.data.targets import Targets
from nnmpi.mpi.world import World
from nnmpi.training.read_together import read_together

Array = npt.NDArray[Any]


class Samples:
    """Rows that are held, and their targets where they are `labelled`.

    Raises
    ------
    InputError
        If the source has other targets than these.
    """

    def __init__(self, rows: HeldRows, targets: Targets, labelled: bool = True) -> None:
        self._rows, self._targets = rows, targets
        y, wanted = rows.source.y, rows.indices
        self._codes: Array = np.zeros(len(wanted), np.intp)
        if labelled and y is not None:
            self._codes = targets.room_for_codes(len(wanted))
            for start in range(0, len(wanted), AT_ONCE):
                some = wanted[start : start + AT_ONCE]
                self._codes[start : start + len(some)] = targets.codes(y[some], f"--data {rows.source.name}", some)

    def shards(self, part: int) -> Iterator[tuple[Array, Array, Array]]:
        """Features as they are stored, codes, labels or numbers, and row numbers of each shard of a part."""
        for place in self._rows.bounds()[part]:
            yield self._rows.stored[place], self._codes[place], self._rows.indices[place]

    def digest(self, world: World) -> str:
        """The digest of the samples of all parts on all ranks, which take part."""
        shards = [shard for part in range(len(self._rows.sizes)) for shard in self.shards(part)]
        weights = self._rows.source.weights
        if weights is not None:
            shards = [(x, np.column_stack([y, weights[rows]]), rows) for x, y, rows in shards]
        return digest(shards, self._targets.classes, world.gather_rows)

    def parts(
        self, scaler: Preparation, target_scaler: Scaler | None, dtype: npt.DTypeLike, keep_last: bool = False
    ) -> list[Part]:
        """The parts, standardized; with `keep_last` the features of the last one are left as they are stored.

        Raises
        ------
        InputError
            If a number does not fit `dtype` when it is standardized.
        """
        held = self._rows
        ends = np.cumsum([sum(sizes) for sizes in held.sizes]).tolist()
        places = [slice(end - sum(sizes), end) for end, sizes in zip(ends, held.sizes, strict=True)]
        source, rows, codes = held.source, held.indices, self._codes
        y = standardized_targets(source, rows, codes, target_scaler, dtype)
        x = held.standardize(scaler, places[-1].start if keep_last else len(rows))
        numbers = codes if target_scaler else None
        weight_exponent = exponent(source.weights)
        return [
            Part(
                x[place],
                y[place],
                sizes,
                rows[place],
                None if numbers is None else numbers[place],
                held.stored[place] if keep_last and place is places[-1] else None,
                None if source.weights is None else source.weights[rows[place]],
                weight_exponent,
            )
            for place, sizes in zip(places, held.sizes, strict=True)
        ]


def read_samples(
    source: Source,
    parts: Sequence[Indices],
    shards: int,
    dtype: npt.DTypeLike,
    targets: Targets,
    world: World,
    labelled: bool = True,
) -> Samples:
    """The rows of each part of a source that are in the `shards` of this rank. All ranks take part.

    Raises
    ------
    InputError
        On all ranks, if the data cannot be read, hold numbers that are not finite, or have other targets.
    """
    with world.together():
        rows = HeldRows(source, parts, shards, held_shards(shards, world.size, world.rank), dtype)
    if source.bounds:
        read_together(source, rows.indices, rows.stored, world)
        with world.together():
            rows.check_finite()
    with world.together():
        return Samples(rows, targets, labelled)
