"""Augmentation: each time a sample is seen it is a little different."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.scaler import Scaler
from nnmpi.data.table import Preparation

Array = npt.NDArray[np.floating]

SHIFT = 1  # pixels
ROTATION = 10  # degrees
NOISE = 0.1  # standard deviations of the feature

# name → what it does; the order in which they are drawn
AUGMENTATIONS = {
    "shift": f"images by up to {SHIFT} pixel each way",
    "rotate": f"images by up to {ROTATION} degrees",
    "noise": f"Gaussian, {NOISE} standard deviations, added to each standardized feature",
}


class Microbatch(NamedTuple):
    """Samples of one shard in one step: where augmented features go, and the stored ones where images are moved."""

    epoch: int
    step: int
    shard: int
    x: Array
    images: npt.NDArray[Any] | None


class Augmentation:
    """What ``--augment`` names, for samples of so many features, images of a shape or not.

    Its random numbers depend on the seed and on epoch, step and shard. No memory is allocated after `reserve`.
    """

    def __init__(self, names: tuple[str, ...], features: int, image: tuple[int, int] | None, seed: int) -> None:
        self._names, self._features, self._image, self._seed = names, features, image, seed
        self._move: ImageMotion | None = None
        self._noise = np.empty(0)

    @property
    def moves(self) -> bool:
        """Whether images are moved, which takes the features as they are stored."""
        return bool({"shift", "rotate"} & set(self._names))

    def reserve(self, samples: int) -> None:
        """Be ready for up to so many samples at once."""
        if self._image and self.moves:
            self._move = ImageMotion("shift" in self._names, "rotate" in self._names, self._image, samples)
        if "noise" in self._names:
            self._noise = np.empty(samples * self._features)

    def apply(self, microbatches: list[Microbatch], scaler: Preparation) -> None:
        """Write the augmented samples of each microbatch to its ``x``, moved images standardized with `scaler`.

        Where no images are moved ``x`` holds the standardized features already.
        """
        for m in microbatches:
            if not len(m.x):
                continue
            generator = stream(self._seed, Purpose.AUGMENTATION, m.epoch, m.step, m.shard)
            if self._move and m.images is not None:
                moved = self._move(m.images, generator)
                assert isinstance(scaler, Scaler)  # images are no tables
                scaler.standardize(moved)
                np.copyto(m.x, moved, casting="same_kind")
            if self._noise.size:
                noise = self._noise[: m.x.size].reshape(m.x.shape)
                generator.standard_normal(out=noise)
                np.multiply(noise, NOISE, out=noise)
                np.add(m.x, noise, out=m.x, casting="same_kind")

    def moved_once(self, images: npt.NDArray[Any], shard: int) -> npt.NDArray[Any]:
        """The samples of a shard, each moved by one draw of its own, to fit the scaler to what will be seen.

        Without this the scale of a pixel that is nearly always empty would blow up what is moved there.
        """
        self.reserve(len(images))
        if self._move is None or not len(images):
            return images
        return self._move(images, stream(self._seed, Purpose.AUGMENTED_SCALER, shard=shard))


class ImageMotion:
    """Shifts and rotates images of `shape` ``(height, width)``, each by its own draw; outside is zero.

    Both moves are one bilinear interpolation, for all images of a call at once.
    """

    def __init__(self, shift: bool, rotate: bool, shape: tuple[int, int], max_images: int) -> None:
        from scipy.ndimage import (
            map_coordinates,
        )  # scikit-learn brings it; only those who augment wait for it

        self._interpolate = map_coordinates
        self._shape = shape
        self._shift, self._rotate = shift, rotate
        y, x = np.indices(shape, np.float64).reshape(2, -1)
        self._centre = (shape[0] - 1) / 2, (shape[1] - 1) / 2
        self._y, self._x = y - self._centre[0], x - self._centre[1]
        n, pixels = max_images, shape[0] * shape[1]
        self._uniform = np.empty(3 * n)
        self._number = np.arange(n)[:, None]
        self._cos, self._sin = np.empty((n, 1)), np.empty((n, 1))
        self._from = np.empty(3 * n * pixels)
        self._product = np.empty((n, pixels))
        self._images = np.empty(n * pixels)
        self._moved = np.empty(n * pixels)

    def __call__(self, stored: npt.NDArray[Any], generator: np.random.Generator) -> npt.NDArray[np.float64]:
        """The images `stored`, shape (n, pixels), of any number type, moved; valid until the next call."""
        n, pixels = stored.shape
        uniform = self._uniform[: 3 * n].reshape(3, n, 1)
        generator.random(out=uniform)
        down, right, angle = uniform
        for shift in (down, right):
            np.multiply(shift, (2 * SHIFT + 1) * self._shift, out=shift)  # -SHIFT … SHIFT, each equally likely
            np.floor(shift, out=shift)
            np.subtract(shift, SHIFT * self._shift, out=shift)
        np.subtract(angle, 0.5, out=angle)
        np.multiply(angle, 2 * np.deg2rad(ROTATION) * self._rotate, out=angle)
        cos = np.cos(angle, out=self._cos[:n])
        sin = np.sin(angle, out=self._sin[:n])

        # which place of the old image each pixel of the new one shows: rotated about the centre, then shifted
        where = self._from[: 3 * n * pixels].reshape(3, n, pixels)
        product = self._product[:n]
        where[0] = self._number[:n]
        np.multiply(cos, self._y, out=where[1])
        np.add(where[1], np.multiply(sin, self._x, out=product), out=where[1])
        np.add(where[1], down, out=where[1])
        np.add(where[1], self._centre[0], out=where[1])
        np.multiply(cos, self._x, out=where[2])
        np.subtract(where[2], np.multiply(sin, self._y, out=product), out=where[2])
        np.add(where[2], right, out=where[2])
        np.add(where[2], self._centre[1], out=where[2])

        images = self._images[: n * pixels].reshape(n, pixels)
        np.copyto(images, stored)
        moved = self._moved[: n * pixels]
        self._interpolate(images.reshape(n, *self._shape), where.reshape(3, -1), output=moved, order=1, prefilter=False)
        return moved.reshape(n, pixels)
