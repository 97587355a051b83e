"""Augmentation: each time a sample is seen it is a little different."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

SHIFT = 1  # pixels
ROTATION = np.deg2rad(15)
NOISE = 0.1  # standard deviations of the feature

# name → what it does; the order in which they are drawn
AUGMENTATIONS = {
    "shift": f"images by up to {SHIFT} pixel each way",
    "rotate": "images by up to 15 degrees",
    "noise": f"Gaussian, {NOISE} standard deviations, added to each standardized feature",
}


class ImageMotion:
    """Shifts and rotates images of `shape` ``(height, width)``, each by its own draw; outside is zero.

    Both moves are one bilinear interpolation, for all images of a call at once.
    """

    def __init__(self, names: tuple[str, ...], shape: tuple[int, int], max_images: int) -> None:
        from scipy.ndimage import map_coordinates  # scikit-learn brings it; only those who augment wait for it

        self._interpolate = map_coordinates
        self._shape = shape
        self._shift, self._rotate = "shift" in names, "rotate" in names
        y, x = np.indices(shape, np.float64).reshape(2, -1)
        self._centre = (shape[0] - 1) / 2, (shape[1] - 1) / 2
        self._y, self._x = y - self._centre[0], x - self._centre[1]
        n, pixels = max_images, shape[0] * shape[1]
        self._uniform = np.empty(3 * n)
        self._cos, self._sin = np.empty((n, 1)), np.empty((n, 1))
        self._from = np.empty(3 * n * pixels)
        self._product = np.empty((n, pixels))
        self._images = np.empty(n * pixels)
        self._moved = np.empty(n * pixels)

    def __call__(self, x: Array, generator: np.random.Generator) -> None:
        """Move the images `x`, shape (n, pixels), in place."""
        n, pixels = x.shape
        if n == 0:
            return
        uniform = self._uniform[: 3 * n].reshape(3, n, 1)
        generator.random(out=uniform)
        down, right, angle = uniform
        for shift in (down, right):
            np.multiply(shift, (2 * SHIFT + 1) * self._shift, out=shift)  # -SHIFT … SHIFT, each equally likely
            np.floor(shift, out=shift)
            np.subtract(shift, SHIFT * self._shift, out=shift)
        np.subtract(angle, 0.5, out=angle)
        np.multiply(angle, 2 * ROTATION * self._rotate, out=angle)
        cos = np.cos(angle, out=self._cos[:n])
        sin = np.sin(angle, out=self._sin[:n])

        # which place of the old image each pixel of the new one shows: rotated about the centre, then shifted
        where = self._from[: 3 * n * pixels].reshape(3, n, pixels)
        product = self._product[:n]
        where[0] = np.arange(n)[:, None]
        np.multiply(cos, self._y, out=where[1])
        np.add(where[1], np.multiply(sin, self._x, out=product), out=where[1])
        np.add(where[1], down, out=where[1])
        np.add(where[1], self._centre[0], out=where[1])
        np.multiply(cos, self._x, out=where[2])
        np.subtract(where[2], np.multiply(sin, self._y, out=product), out=where[2])
        np.add(where[2], right, out=where[2])
        np.add(where[2], self._centre[1], out=where[2])

        images = self._images[: n * pixels].reshape(n, pixels)
        np.copyto(images, x)
        moved = self._moved[: n * pixels]
        self._interpolate(
            images.reshape(n, *self._shape), where.reshape(3, -1), output=moved, order=1, prefilter=False
        )
        np.copyto(x, moved.reshape(n, pixels), casting="same_kind")


class Noise:
    """Adds Gaussian noise to standardized features."""

    def __init__(self, features: int, max_samples: int) -> None:
        self._noise = np.empty(max_samples * features)

    def __call__(self, x: Array, generator: np.random.Generator) -> None:
        """Add noise to `x`, shape (n, features), in place."""
        noise = self._noise[: x.size].reshape(x.shape)
        generator.standard_normal(out=noise)
        np.multiply(noise, NOISE, out=noise)
        np.add(x, noise, out=x, casting="same_kind")
