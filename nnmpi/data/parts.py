"""The training, validation and test part: how they are drawn, and the samples of them that a rank holds."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array, Floats, Indices
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.scaler import Scaler
from nnmpi.data.shards import slices_of
from nnmpi.data.sources import Source
from nnmpi.errors import InputError

ROWS_AT_ONCE = 1 << 16  # whose parts are drawn from one random stream; never change it: it decides what a seed means


@dataclass(frozen=True)
class Parts:
    """The row numbers of the training, validation and test part."""

    training: Indices
    validation: Indices
    test: Indices


def split(source: Source, test_fraction: float, validation_fraction: float, seed: int, stratify: bool) -> Parts:
    """Draw the parts as scikit-learn's ``train_test_split`` does; the validation part is taken from the training part.

    In a large source the rows of each part keep their order, so that a shard is a run of neighbouring rows. There,
    unless `stratify` is set, the part of each row is drawn on its own.

    Raises
    ------
    InputError
        If a part would be empty, or a class too rare to be stratified.
    """
    y = _codes_to_stratify(source) if stratify else None
    try:
        if source.is_large and y is None:
            return _split_large(source, test_fraction, validation_fraction, seed)
        rows = np.arange(source.size)
        validation: Indices = rows[:0]
        training, test = _split_off(rows, test_fraction, seed, y) if test_fraction else (rows, rows[:0])
        if validation_fraction:
            training, validation = _split_off(training, validation_fraction, seed, None if y is None else y[training])
    except ValueError as error:
        fractions = {"--test-fraction": test_fraction, "--validation-fraction": validation_fraction}
        flags = " and ".join(f"{flag} {fraction}" for flag, fraction in fractions.items() if fraction)
        raise InputError(f"--data {source.name} cannot be split with {flags}: {error}") from None
    if source.is_large:
        training, validation, test = np.sort(training), np.sort(validation), np.sort(test)
    return Parts(training, validation, test)


def _split_large(source: Source, test_fraction: float, validation_fraction: float, seed: int) -> Parts:
    """Assign each row to a part by a random number that depends only on the seed and the row number."""
    rows_of: list[list[Indices]] = [[], [], []]
    dtype = np.uint32 if source.size < 1 << 32 else np.intp  # compact, because each rank lists all rows
    for block, start in enumerate(range(0, source.size, ROWS_AT_ONCE)):
        drawn = stream(seed, Purpose.PART, step=block).random(ROWS_AT_ONCE)[: source.size - start]
        test = drawn < test_fraction
        validation = ~test & (drawn < test_fraction + (1 - test_fraction) * validation_fraction)
        for rows, chosen in zip(rows_of, (~test & ~validation, validation, test), strict=True):
            rows.append((start + np.flatnonzero(chosen)).astype(dtype))
    parts = Parts(*(np.concatenate(rows) for rows in rows_of))
    for (name, part), fraction in zip(vars(parts).items(), (1.0, validation_fraction, test_fraction), strict=True):
        if fraction and not len(part):
            raise ValueError(f"the {name} part has none of the {source.size} samples")
    return parts


def _codes_to_stratify(source: Source) -> Indices:
    """Return the class codes of all rows; refuse a class that has only one row."""
    assert source.y is not None
    classes, codes, counts = np.unique(source.y, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        label = classes[counts.argmin()]
        raise InputError(
            f"--stratify needs at least 2 samples of each class, but --data {source.name} has 1 of class {label}: "
            "leave out --stratify, or remove that sample"
        )
    return codes.reshape(-1)


def _split_off(rows: Indices, fraction: float, seed: int, y: Array | None) -> tuple[Indices, Indices]:
    """Split off a random `fraction` of `rows` as ``train_test_split`` does, stratified by `y` if it is given.

    Return the remaining rows and the fraction. The case without `y` is written out here, because importing scikit-learn
    takes a second and 90 MB on every rank.
    """
    if y is not None:
        from sklearn.model_selection import train_test_split

        rest, part = train_test_split(rows, test_size=fraction, random_state=seed, stratify=y)
        return rest, part
    count = math.ceil(fraction * len(rows))
    if count >= len(rows):
        raise ValueError(f"a part of {count} of {len(rows)} samples leaves none for training")
    drawn = np.random.RandomState(seed).permutation(len(rows))  # the same draw as in scikit-learn
    return rows[drawn[count:]], rows[drawn[:count]]


def exponent(weights: Floats | None) -> int:
    """Return the power of two that divides all weights of the loss; the largest is then from 0.5 to 1."""
    return 0 if weights is None else math.frexp(weights.max(initial=0.0))[1]


@dataclass(frozen=True)
class Part:
    """The samples of one part that this rank holds, one shard after the other.

    Attributes
    ----------
    x : array, shape (n, 1 + features)
        Column 0 is one, see `nnmpi.nn.layers`; the others are the standardized features. No rows if `stored` is set.
    y : array, shape (n,) or (n, outputs)
        Class codes, labels as booleans, or standardized numbers.
    sizes : list of int
        The number of samples in each shard held.
    rows : array, shape (n,)
        The row number in the source of each sample.
    numbers : array, shape (n, outputs), or None
        The numbers to predict, not standardized.
    stored : array, shape (n, features), or None
        The features as they are stored, if batches are made from these: for images that augmentation moves before they
        are standardized, and for samples that must not be copied.
    weights : array, shape (n,), or None
        The weight of each sample; None means 1.
    weight_exponent : int
        `loss_weights` divides by 2 to this power, see `exponent`.
    """

    x: Array
    y: Array
    sizes: list[int]
    rows: Indices
    numbers: Floats | None = None
    stored: Array | None = None
    weights: Floats | None = None
    weight_exponent: int = 0

    def loss_weights(self, class_weights: Floats | None) -> Floats | None:
        """Return the weight of each sample in the loss: its own weight times that of its class; None means 1.

        All weights of the loss are divided by one power of two, which keeps them and their sums in the range of
        float32. This changes no result: the loss and the gradient are divided by the sum of the weights.
        """
        weights: Floats | None = None
        if class_weights is not None:
            weights = np.ldexp(class_weights, -exponent(class_weights))[self.y]
        if self.weights is not None:
            sample_weights = np.ldexp(self.weights, -self.weight_exponent)
            weights = sample_weights if weights is None else sample_weights * weights
        return weights

    def shards(self) -> list[slice]:
        """Return the slice of the samples of each shard held."""
        return slices_of(self.sizes)


def standardized_targets(
    source: Source, rows: Indices, codes: Array, scaler: Scaler | None, dtype: npt.DTypeLike
) -> Array:
    """Return class codes and labels unchanged, or numbers, shape (n, outputs), standardized and rounded to `dtype`.

    Raises
    ------
    InputError
        If a standardized number does not fit `dtype`.
    """
    if scaler is None:
        return codes
    y = np.empty(codes.shape, dtype)
    scaler.transform(codes, y)
    if not np.isfinite(y).all():
        row, output = np.argwhere(~np.isfinite(y))[0]
        raise InputError(
            f"--data {source.name}: y of row {rows[row]} (from 0) is {codes[row, output]}, which does not fit "
            f"{y.dtype} when it is standardized. Is it a fill value? Remove such rows"
        )
    return y
