"""Augmentation: exact shifts, SciPy's rotation, noise of the right size."""

import numpy as np
import pytest
from scipy.ndimage import rotate

from nnmpi.data.augment import NOISE, ROTATION, SHIFT, Augmentation, ImageMotion, Microbatch
from nnmpi.data.scaler import Scaler

SHAPE = (7, 5)
PIXELS = SHAPE[0] * SHAPE[1]
IMAGES = np.random.default_rng(0).random((4, *SHAPE))
UNSCALED = Scaler(np.zeros(PIXELS), np.ones(PIXELS))


class GivenNumbers:
    """A generator that returns the given uniform numbers: for each image the shifts down and right, and the angle."""

    def __init__(self, *numbers):
        self.numbers = np.array(numbers, float)

    def random(self, out):
        out[:] = self.numbers.reshape(3, -1, 1)


def moved(images, generator, shift=False, rotate=False):
    motion = ImageMotion(shift, rotate, images.shape[1:], len(images) + 3)
    return motion(images.reshape(len(images), -1), generator).reshape(images.shape).copy()


def shifted(image, down, right):
    """Shift `image` pixel by pixel; pixels from outside the image are zero."""
    out = np.zeros_like(image)
    for y, x in np.ndindex(image.shape):
        if 0 <= y + down < image.shape[0] and 0 <= x + right < image.shape[1]:
            out[y, x] = image[y + down, x + right]
    return out


def augmented(names, x, where=(0, 0, 0), seed=1, scaler=UNSCALED, image=SHAPE):
    stored = x.reshape(len(x), -1)
    x = np.empty(stored.shape)
    scaler.transform(stored, x)
    augmentation = Augmentation(names, x.shape[1], image, seed)
    augmentation.reserve(len(x))
    augmentation.apply([Microbatch(*where, x, stored if augmentation.moves else None)], scaler)
    return x


SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


@pytest.mark.parametrize(("down", "right"), SHIFTS)
def test_shift_moves_by_whole_pixels_and_fills_with_zeros(down, right):
    # the first third of the unit interval means -1, the second 0, the last 1
    result = moved(IMAGES, GivenNumbers([(down + 1.5) / 3] * 4, [(right + 1.5) / 3] * 4, [0.9] * 4), shift=True)
    assert (result == [shifted(image, down, right) for image in IMAGES]).all()


def test_each_image_has_its_own_shift():
    result = moved(IMAGES[:2], GivenNumbers([0.1, 0.9], [0.5, 0.5], [0, 0]), shift=True)
    assert (result == [shifted(IMAGES[0], -1, 0), shifted(IMAGES[1], 1, 0)]).all()


def test_all_shifts_are_equally_likely():
    images = np.repeat(IMAGES[:1], 4500, axis=0)
    result = moved(images, np.random.default_rng(1), shift=True)
    counts = [int((result == shifted(IMAGES[0], *by_pixels)).all(axis=(1, 2)).sum()) for by_pixels in SHIFTS]
    assert SHIFT == 1
    assert sum(counts) == 4500
    assert max(abs(n - 500) for n in counts) < 5 * np.sqrt(500)


def test_rotation_by_nothing_is_the_image_itself():
    assert (moved(IMAGES, GivenNumbers([0.1] * 4, [0.1] * 4, [0.5] * 4), rotate=True) == IMAGES).all()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
@pytest.mark.parametrize("shape", [(8, 8), (7, 5)])
def test_rotation_is_that_of_scipy(share, shape):
    image = np.random.default_rng(2).random(shape)
    result = moved(image[None], GivenNumbers([0], [0], [share]), rotate=True)[0]
    degrees = (2 * share - 1) * ROTATION
    np.testing.assert_allclose(result, rotate(image, degrees, reshape=False, order=1, prefilter=False), atol=1e-12)


def test_rotation_keeps_what_is_in_the_middle():
    blob = np.exp(-(np.hypot(*(np.indices((15, 15)) - 7)) ** 2) / 4)
    result = moved(blob[None], GivenNumbers([0], [0], [0.95]), rotate=True)[0]
    assert result.sum() == pytest.approx(blob.sum(), rel=0.01)


def test_rotations_stay_within_their_bounds():
    # a pixel 7 from the centre moves by at most 7 sin(10°) = 1.2, and sometimes by nearly as much
    image = np.zeros((15, 15))
    image[7, 14] = 1
    result = moved(np.repeat(image[None], 300, axis=0), np.random.default_rng(3), rotate=True)
    heights = (result * np.arange(15)[:, None]).sum((1, 2)) / result.sum((1, 2)) - 7
    assert 1.0 < np.abs(heights).max() < 7 * np.sin(np.deg2rad(ROTATION)) + 0.2
    assert np.mean(heights) == pytest.approx(0, abs=0.2)


def test_rotation_and_shift_go_together():
    result = moved(IMAGES[:1], GivenNumbers([0.9], [0.1], [0.5]), shift=True, rotate=True)[0]
    assert (result == shifted(IMAGES[0], 1, -1)).all()


def test_noise_has_its_standard_deviation():
    x = np.full((2000, PIXELS), 3.0)
    noise = augmented(("noise",), x) - 3
    assert noise.mean() == pytest.approx(0, abs=5 * NOISE / np.sqrt(x.size))
    assert noise.std() == pytest.approx(NOISE, rel=5 / np.sqrt(2 * x.size))


def test_noise_comes_after_standardization():
    x = np.full((2000, PIXELS), 30.0)
    noise = augmented(("noise",), x, scaler=Scaler(np.full(PIXELS, 30.0), np.full(PIXELS, 1000.0)))
    assert noise.std() == pytest.approx(NOISE, rel=0.05)


def test_noise_needs_no_images():
    assert (augmented(("noise",), np.zeros((2, 3)), scaler=Scaler(np.zeros(3), np.ones(3)), image=None) != 0).all()


@pytest.mark.parametrize("name", ["shift", "rotate"])
def test_images_are_moved_before_they_are_standardized(name):
    # pixels from outside the image are zero before standardization, not after it
    x = np.full((50, PIXELS), 2.0)
    result = augmented((name,), x, scaler=Scaler(np.full(PIXELS, 1.0), np.full(PIXELS, 0.5)))
    assert result.max() == pytest.approx(2)
    assert result.min() == pytest.approx(-2)


@pytest.mark.parametrize("names", [("shift",), ("rotate",), ("noise",), ("shift", "rotate", "noise")])
class TestWhatTheNumbersDependOn:
    X = np.random.default_rng(4).random((40, PIXELS))

    def test_the_same_place_gives_the_same_samples(self, names):
        assert (augmented(names, self.X, (1, 2, 3)) == augmented(names, self.X, (1, 2, 3))).all()

    @pytest.mark.parametrize(
        "other", [{"seed": 2}, {"where": (2, 2, 3)}, {"where": (1, 3, 3)}, {"where": (1, 2, 4)}], ids=str
    )
    def test_another_seed_epoch_step_or_shard_gives_others(self, names, other):
        key = {"where": (1, 2, 3), "seed": 1}
        assert (augmented(names, self.X, **key) != augmented(names, self.X, **(key | other))).any()

    def test_microbatches_do_not_disturb_each_other(self, names):
        together, alone = self.X.copy(), self.X.copy()
        parts = [(0, slice(0, 15)), (1, slice(15, 15)), (2, slice(15, 40))]
        for calls in ([(together, parts)], [(alone, [part]) for part in parts]):
            for x, microbatches in calls:
                augmentation = Augmentation(names, PIXELS, SHAPE, 1)
                augmentation.reserve(40)
                stored = [self.X[at] if augmentation.moves else None for _, at in microbatches]
                samples = [Microbatch(0, 0, s, x[at], y) for (s, at), y in zip(microbatches, stored, strict=True)]
                augmentation.apply(samples, UNSCALED)
        assert (together == alone).all()


def test_samples_for_the_scaler_are_moved_once_and_the_originals_kept():
    x = IMAGES.reshape(4, -1).copy()
    augmentation = Augmentation(("shift",), PIXELS, SHAPE, 1)
    first, again, other = (augmentation.moved_once(x, shard).copy() for shard in (0, 0, 1))
    assert (x == IMAGES.reshape(4, -1)).all()
    assert (first == again).all()
    assert (first != other).any()
    for image, moved_image in zip(IMAGES, first.reshape(IMAGES.shape), strict=True):
        assert any((moved_image == shifted(image, *by_pixels)).all() for by_pixels in SHIFTS)


def test_samples_for_the_scaler_carry_no_noise():
    x = IMAGES.reshape(4, -1)
    assert (Augmentation(("noise",), PIXELS, SHAPE, 1).moved_once(x, 0) == x).all()
