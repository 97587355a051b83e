"""PowerSGD, compared with the algorithm of its paper, implemented here in float64 without nnmpi's code."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ranks import ThreadWorld, on_ranks

from nnmpi.mpi.world import World
from nnmpi.reduction.powersgd import PowerSGD, orthonormalize

SHAPES = [(41, 30), (31, 20), (21, 2)]  # the last matrix is smaller than its factors of rank 3 would be
RANK, STEPS, SIZE = 3, 6, 3
LENGTH = sum(rows * columns for rows, columns in SHAPES)


def with_allreduce(world: World) -> World:
    assert isinstance(world, ThreadWorld)

    def allreduce(_: None, buffer: list[Any]) -> None:
        numbers = buffer[0]
        numbers[:] = np.sum(world._from_all(numbers.copy()), axis=0)

    world.mpi = SimpleNamespace(FLOAT=None, DOUBLE=None, IN_PLACE=None)
    world.comm = SimpleNamespace(Allreduce=allreduce)
    return world


def gradients(rank: int, step: int) -> np.ndarray:
    return np.random.default_rng([rank, step]).standard_normal(LENGTH)


def weights(step: int) -> float:
    return 4.0 if step == 2 else 32.0  # per rank; step 2 is the smaller last batch of an epoch


def run(world: World) -> tuple[list[np.ndarray], PowerSGD]:
    reduction = PowerSGD(with_allreduce(world), SHAPES, "float64", RANK, 5)
    (vector,) = reduction.vectors
    vectors = []
    for step in range(STEPS):
        vector[:LENGTH] = gradients(world.rank, step)
        vector[LENGTH:] = [world.rank, weights(step), world.rank == 1, 0]
        reduction.reduce()
        vectors.append(vector.copy())
    return vectors, reduction


def views(vector: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum([rows * columns for rows, columns in SHAPES])
    return [v.reshape(s) for v, s in zip(np.split(vector[:LENGTH], ends[:-1]), SHAPES, strict=True)]


def test_sums_are_those_of_the_paper() -> None:
    results = on_ranks(SIZE, run)
    vectors = results[0][0]
    for others, _ in results:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(others, vectors, strict=True))
    assert results[0][1].name == "PowerSGD of rank 3 for 2 of 3 layers"
    starts = [fresh for *_, fresh in results[0][1]._layers]
    errors = [[np.zeros((rows - 1, columns)) for rows, columns in SHAPES[:2]] for _ in range(SIZE)]
    right = [start.copy() for start in starts]
    for step in range(STEPS):
        exact = np.sum([gradients(rank, step) for rank in range(SIZE)], axis=0)
        ratio = weights(step) / weights(step - 1) if step else 1.0
        sums = views(vectors[step])
        np.testing.assert_allclose(vectors[step][LENGTH:], [3, SIZE * weights(step), 1, 0])
        np.testing.assert_allclose(sums[2], views(exact)[2], rtol=1e-12)
        for layer in range(2):
            np.testing.assert_allclose(sums[layer][0], views(exact)[layer][0], rtol=1e-12)  # the biases
            matrices = [views(gradients(rank, step))[layer][1:] + ratio * errors[rank][layer] for rank in range(SIZE)]
            # QR may flip the signs of columns; the products below do not change
            left, _ = np.linalg.qr(sum(matrices) @ right[layer])
            right[layer] = sum(matrices).T @ left
            np.testing.assert_allclose(sums[layer][1:], left @ right[layer].T, atol=1e-9)
            for rank in range(SIZE):
                errors[rank][layer] = matrices[rank] - left @ (left.T @ matrices[rank])


def test_what_is_left_out_comes_later() -> None:
    """If the gradient stays the same, the mean of the outputs approaches it. Without error feedback it would not."""

    def work(world: World) -> np.ndarray:
        reduction = PowerSGD(with_allreduce(world), SHAPES[:1], "float64", 1, 5)
        (vector,) = reduction.vectors
        total = np.zeros(41 * 30)
        for _ in range(300):
            vector[:-4] = np.random.default_rng(world.rank).standard_normal(41 * 30)
            vector[-4:] = [0, 8, 0, 0]
            reduction.reduce()
            total += vector[:-4]
        return total / 300

    mean = on_ranks(2, work)[0]
    exact = sum(np.random.default_rng(rank).standard_normal(41 * 30) for rank in range(2))
    assert np.linalg.norm(mean - exact) < 0.2 * np.linalg.norm(exact)


def test_a_gradient_of_zeros_does_not_silence_the_layer_for_ever() -> None:
    def work(world: World) -> float:
        reduction = PowerSGD(with_allreduce(world), SHAPES[:1], "float32", 2, 5)
        (vector,) = reduction.vectors
        for step in range(2):
            vector[:-4] = float(step)
            vector[-4:] = [0, 8, 0, 0]
            reduction.reduce()
        return float(np.abs(vector[30:-4] - 2).max())

    assert on_ranks(2, work)[0] < 1e-4  # a matrix of ones has rank 1


def sums_of_rank_3(scale: float, dtype: str, gradient: float | None = None) -> list[float]:
    """Return the relative error of the sums after each of 4 steps; the gradients have rank 2, so they should be exact.

    `gradient` replaces a number of rank 1 in the last step.
    """

    def work(world: World) -> list[float]:
        reduction = PowerSGD(with_allreduce(world), SHAPES[:1], dtype, RANK, 5)
        (vector,), errors = reduction.vectors, []
        for step in range(4):
            generator = np.random.default_rng(step)
            matrix = generator.standard_normal((40, 2)) @ generator.standard_normal((2, 30)) * scale
            vector[30:-4] = matrix.ravel()
            if gradient is not None and step == 3 and world.rank == 1:
                vector[30] = gradient
            vector[-4:] = [0, 8, 0, 0]
            with np.errstate(invalid="ignore"):
                reduction.reduce()
            error = vector[30:-4].astype(np.float64) / scale - 2 * matrix.ravel() / scale
            errors.append(float(np.linalg.norm(error) / np.linalg.norm(2 * matrix / scale)))
        return errors

    return on_ranks(2, work)[0]


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(s, "float32") for s in (1e-36, 1e-22, 1e-12, 1e10, 1e19, 1e36)] + [(s, "float64") for s in (1e-300, 1e300)],
)
def test_gradients_may_be_as_large_or_small_as_the_numbers_allow(scale: float, dtype: str) -> None:
    assert max(sums_of_rank_3(scale, dtype)) < (1e-3 if dtype == "float32" else 1e-11)


@pytest.mark.parametrize("gradient", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_becomes_nan(gradient: float) -> None:
    assert np.isnan(sums_of_rank_3(1, "float32", gradient)[-1])


def test_what_is_kept_waits_while_all_weights_are_zero() -> None:
    """The update divides sums by their weight; 0 counts as 1, with which the kept part is far too large."""

    def work(world: World) -> tuple[np.ndarray, np.ndarray]:
        results = []
        for weights in ([32, 32, 32], [32, 0, 0, 32, 0, 32]):
            reduction = PowerSGD(with_allreduce(world), SHAPES[:1], "float64", 1, 5)
            (vector,) = reduction.vectors
            for step, weight in enumerate(weights):
                vector[:-4] = np.random.default_rng([world.rank, sum(weights[:step])]).standard_normal(41 * 30)
                vector[:-4] *= weight > 0
                vector[-4:] = [0, weight, 0, 0]
                reduction.reduce()
                if not weight:
                    assert not vector[:-4].any()
            results.append(vector.copy())
        return results[0], results[1]

    plain, with_zeros = on_ranks(2, work)[0]
    np.testing.assert_array_equal(with_zeros, plain)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_become_orthonormal_also_where_they_nearly_agree(dtype: str) -> None:
    generator = np.random.default_rng(0)
    columns = generator.standard_normal((500, 1)) + 1e-4 * generator.standard_normal((500, 6))
    basis = np.ascontiguousarray(columns, dtype)
    orthonormalize(basis, np.empty(500, dtype))
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=20 * np.finfo(dtype).eps)


def test_columns_that_depend_on_others_become_zero() -> None:
    basis = np.ones((50, 3), np.float32)
    orthonormalize(basis, np.empty(50, np.float32))
    np.testing.assert_allclose(basis.T @ basis, np.diag([1, 0, 0]), atol=1e-6)
    zeros = np.zeros((50, 2), np.float32)
    orthonormalize(zeros, np.empty(50, np.float32))
    assert not zeros.any()
