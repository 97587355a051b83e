"""The samples that a rank holds: read from a source, then made into standardized parts."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array, Indices
from nnmpi.data.digest import digest
from nnmpi.data.held import HeldRows
from nnmpi.data.parts import Part, exponent, standardized_targets
from nnmpi.data.scaler import AT_ONCE, Scaler
from nnmpi.data.shards import held_shards, slices_of
from nnmpi.data.sources import Source
from nnmpi.data.table import Preparation
from nnmpi.data.targets import Targets
from nnmpi.mpi.world import World
from nnmpi.training.read_together import read_together


class HeldSamples:
    """The rows that a rank holds, with their targets if they are `labelled`.

    Raises
    ------
    InputError
        If the source's targets do not fit `targets`.
    """

    def __init__(self, rows: HeldRows, targets: Targets, labelled: bool = True) -> None:
        self._rows, self._targets = rows, targets
        y, indices = rows.source.y, rows.indices
        self._codes: Array = np.zeros(len(indices), np.intp)
        if labelled and y is not None:
            self._codes = targets.room_for_codes(len(indices))
            for start in range(0, len(indices), AT_ONCE):
                block = indices[start : start + AT_ONCE]
                self._codes[start : start + len(block)] = targets.codes(y[block], f"--data {rows.source.name}", block)

    def shards(self, part: int) -> Iterator[tuple[Array, Array, Array]]:
        """Yield the stored features, the targets (`Targets.codes`) and the row numbers of each shard of a part."""
        for shard in self._rows.bounds()[part]:
            yield self._rows.stored[shard], self._codes[shard], self._rows.indices[shard]

    def digest(self, world: World) -> str:
        """Return the digest of the samples of all parts and ranks. All ranks take part."""
        shards = [shard for part in range(len(self._rows.sizes)) for shard in self.shards(part)]
        weights = self._rows.source.weights
        if weights is not None:
            shards = [(x, np.column_stack([y, weights[rows]]), rows) for x, y, rows in shards]
        return digest(shards, self._targets.classes, world.gather_rows)

    def parts(
        self, scaler: Preparation, target_scaler: Scaler | None, dtype: npt.DTypeLike, keep_last: bool = False
    ) -> list[Part]:
        """Return the standardized parts; with `keep_last` the last part has its features as stored instead.

        Raises
        ------
        InputError
            If a standardized number does not fit `dtype`.
        """
        held = self._rows
        slices = slices_of([sum(sizes) for sizes in held.sizes])
        source, rows, codes = held.source, held.indices, self._codes
        y = standardized_targets(source, rows, codes, target_scaler, dtype)
        x = held.standardize(scaler, slices[-1].start if keep_last else len(rows))
        numbers = codes if target_scaler else None
        weight_exponent = exponent(source.weights)
        return [
            Part(
                x[part],
                y[part],
                sizes,
                rows[part],
                None if numbers is None else numbers[part],
                held.stored[part] if keep_last and part is slices[-1] else None,
                None if source.weights is None else source.weights[rows[part]],
                weight_exponent,
            )
            for part, sizes in zip(slices, held.sizes, strict=True)
        ]


def read_samples(
    source: Source,
    parts: Sequence[Indices],
    shards: int,
    dtype: npt.DTypeLike,
    targets: Targets,
    world: World,
    labelled: bool = True,
) -> HeldSamples:
    """Read the rows of each part that belong to this rank's shards, of `shards` in all. All ranks take part.

    Raises
    ------
    InputError
        On all ranks, if the data cannot be read, hold numbers that are not finite, or do not fit `targets`.
    """
    with world.together():
        rows = HeldRows(source, parts, shards, held_shards(shards, world.size, world.rank), dtype)
    if source.bounds:
        read_together(source, rows.indices, rows.stored, world)
        with world.together():
            rows.check_finite()
    with world.together():
        return HeldSamples(rows, targets, labelled)
