"""Augmentation: small random changes of the training samples, drawn again each time a sample is used."""

from typing import NamedTuple

import numpy as np

from nnmpi.arrays import Array, Floats
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.scaler import Scaler
from nnmpi.data.table import Preparation

SHIFT = 1  # pixels
ROTATION = 10  # degrees
NOISE = 0.1  # standard deviations of the feature

# name → description, shown in the help of --augment
AUGMENTATIONS = {
    "shift": f"shifts images by up to {SHIFT} pixel in each direction",
    "rotate": f"rotates images by up to {ROTATION} degrees",
    "noise": f"adds Gaussian noise of {NOISE} standard deviations to each standardized feature",
}


class Microbatch(NamedTuple):
    """The samples of one shard in one step.

    The augmented features are written to ``x``. ``images`` are the features as they are stored, or None if no image
    is moved.
    """

    epoch: int
    step: int
    shard: int
    x: Array
    images: Array | None


class Augmentation:
    """The augmentations that ``--augment`` names.

    `features` is the number of features of a sample, `image` the shape of an image or None. The random numbers depend
    on the seed, the epoch, the step and the shard. No memory is allocated after `reserve`.
    """

    def __init__(self, names: tuple[str, ...], features: int, image: tuple[int, int] | None, seed: int) -> None:
        self._names, self._features, self._image, self._seed = names, features, image, seed
        self._motion: ImageMotion | None = None
        self._noise = np.empty(0)

    @property
    def moves(self) -> bool:
        """Whether images are shifted or rotated. This needs the features as they are stored."""
        return bool({"shift", "rotate"} & set(self._names))

    def reserve(self, samples: int) -> None:
        """Allocate the memory for microbatches of up to `samples` samples."""
        if self._image and self.moves:
            self._motion = ImageMotion("shift" in self._names, "rotate" in self._names, self._image, samples)
        if "noise" in self._names:
            self._noise = np.empty(samples * self._features)

    def apply(self, microbatches: list[Microbatch], scaler: Preparation) -> None:
        """Write the augmented samples of each microbatch to its ``x``.

        Moved images are standardized with `scaler`. If no images are moved, ``x`` must hold the standardized features.
        """
        for m in microbatches:
            if not len(m.x):
                continue
            generator = stream(self._seed, Purpose.AUGMENTATION, m.epoch, m.step, m.shard)
            if self._motion and m.images is not None:
                moved = self._motion(m.images, generator)
                assert isinstance(scaler, Scaler)  # images are no tables
                scaler.standardize(moved)
                np.copyto(m.x, moved, casting="same_kind")
            if self._noise.size:
                noise = self._noise[: m.x.size].reshape(m.x.shape)
                generator.standard_normal(out=noise)
                np.multiply(noise, NOISE, out=noise)
                np.add(m.x, noise, out=m.x, casting="same_kind")

    def moved_once(self, images: Array, shard: int) -> Array:
        """Return the images of a shard, each moved by its own random draw, to fit the scaler to augmented samples.

        Without this, a pixel that is nearly always empty has a tiny scale, and a value that is moved there becomes
        huge when it is standardized.
        """
        self.reserve(len(images))
        if self._motion is None or not len(images):
            return images
        return self._motion(images, stream(self._seed, Purpose.AUGMENTED_SCALER, shard=shard))


class ImageMotion:
    """Shifts and rotates images of `shape` ``(height, width)``, each by its own random draw.

    Pixels from outside the image are zero. Shift and rotation are done in one bilinear interpolation, for all images
    of a call at once.
    """

    def __init__(self, shift: bool, rotate: bool, shape: tuple[int, int], max_images: int) -> None:
        from scipy.ndimage import (
            map_coordinates,
        )  # a dependency of scikit-learn; imported here because the import is slow

        self._interpolate = map_coordinates
        self._shape = shape
        self._shift, self._rotate = shift, rotate
        y, x = np.indices(shape, np.float64).reshape(2, -1)
        self._centre = (shape[0] - 1) / 2, (shape[1] - 1) / 2
        self._y, self._x = y - self._centre[0], x - self._centre[1]
        n, pixels = max_images, shape[0] * shape[1]
        self._uniform = np.empty(3 * n)
        self._image_numbers = np.arange(n)[:, None]
        self._cos, self._sin = np.empty((n, 1)), np.empty((n, 1))
        self._coordinates = np.empty(3 * n * pixels)
        self._product = np.empty((n, pixels))
        self._images = np.empty(n * pixels)
        self._moved = np.empty(n * pixels)

    def __call__(self, stored: Array, generator: np.random.Generator) -> Floats:
        """Return the images `stored`, shape (n, pixels), of any number type, moved; valid until the next call."""
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

        # image number, y and x from which each pixel is taken: rotated about the centre, then shifted
        coordinates = self._coordinates[: 3 * n * pixels].reshape(3, n, pixels)
        product = self._product[:n]
        coordinates[0] = self._image_numbers[:n]
        np.multiply(cos, self._y, out=coordinates[1])
        np.add(coordinates[1], np.multiply(sin, self._x, out=product), out=coordinates[1])
        np.add(coordinates[1], down, out=coordinates[1])
        np.add(coordinates[1], self._centre[0], out=coordinates[1])
        np.multiply(cos, self._x, out=coordinates[2])
        np.subtract(coordinates[2], np.multiply(sin, self._y, out=product), out=coordinates[2])
        np.add(coordinates[2], right, out=coordinates[2])
        np.add(coordinates[2], self._centre[1], out=coordinates[2])

        images = self._images[: n * pixels].reshape(n, pixels)
        np.copyto(images, stored)
        moved = self._moved[: n * pixels]
        self._interpolate(
            images.reshape(n, *self._shape), coordinates.reshape(3, -1), output=moved, order=1, prefilter=False
        )
        return moved.reshape(n, pixels)
