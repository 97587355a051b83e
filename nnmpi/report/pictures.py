"""The worst mistakes of a model, with their images as PNG inside the page."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nnmpi.arrays import Array, Indices
from nnmpi.report.classification import short
from nnmpi.report.predictions import Predictions

MOST = 24  # pictures, at most
LONGEST = 80  # characters of the labels of a sample, at most
MOST_ROWS = 12  # rows of a table without pictures, at most
SHORTEST_SIDE = 56  # pixels; smaller images are enlarged, pixel by pixel
LARGEST = 1 << 18  # pixels of an image; larger images would make the page too large


@dataclass(frozen=True)
class Mistake:
    """A sample that the model got wrong; ``picture`` is its image as a ``data:`` URL, "" if it has none."""

    row: int
    actual: str
    predicted: str
    error: float  # see `worst_mistakes`
    picture: str = ""


def worst_mistakes(predictions: Predictions) -> list[Mistake]:
    """Return the samples with the largest errors, the worst first.

    The error for classes is the probability of the predicted class minus that of the actual class, or 1 without
    probabilities. For labels it is the distance of the probabilities from 0 or 1, summed over the labels. For numbers
    it is the largest absolute error of an output; the order uses errors in units of each output's standard deviation
    in the training part.
    """
    y, predicted = predictions.y, predictions.predicted
    if predictions.task == "regression":
        errors = np.abs(predicted - y)
        assert predictions.model.target_scaler
        scaled = (errors / predictions.model.target_scaler.scale).max(axis=1)
        worst = np.argsort(-scaled, kind="stable")[:MOST_ROWS]
        return [
            Mistake(int(predictions.part.rows[i]), _numbers(y[i]), _numbers(predicted[i]), float(errors[i].max()))
            for i in worst
        ]
    if predictions.task == "multilabel":
        names = np.array(predictions.model.targets.labels, object)
        wrong = np.flatnonzero((predicted != y).any(axis=1))
        assert predictions.probabilities is not None
        distances = np.abs(predictions.probabilities[wrong] - y[wrong]).sum(axis=1)
        return _worst(predictions, wrong, distances, lambda row: short(", ".join(names[row]) or "none", LONGEST))
    classes = predictions.classes or []
    wrong = np.flatnonzero(predicted != y)
    errors = np.ones(len(wrong))
    if predictions.probabilities is not None:
        errors = predictions.probabilities[wrong, predicted[wrong]] - predictions.probabilities[wrong, y[wrong]]
    return _worst(predictions, wrong, errors, lambda code: classes[code])


def _worst(predictions: Predictions, wrong: Indices, errors: Array, text_of: Callable[[Any], str]) -> list[Mistake]:
    """Return the samples in `wrong` with the largest `errors`, with their pictures."""
    order = np.argsort(-errors, kind="stable")[: MOST if predictions.source.image else MOST_ROWS]
    pictures = _pictures(predictions, wrong[order])
    y, predicted = predictions.y, predictions.predicted
    return [
        Mistake(int(predictions.part.rows[i]), text_of(y[i]), text_of(predicted[i]), error, picture)
        for i, error, picture in zip(wrong[order], errors[order].tolist(), pictures, strict=True)
    ]


def _numbers(values: Array) -> str:
    return ", ".join(f"{value:.4g}" for value in values.tolist())


def _pictures(predictions: Predictions, samples: Indices) -> list[str]:
    source = predictions.source
    if source.image is None or not len(samples) or source.features > LARGEST:
        return [""] * len(samples)
    pixels = np.empty((len(samples), source.features))
    source.read(predictions.part.rows[samples], pixels)
    low, high = float(pixels.min()), float(pixels.max())
    grey = np.rint((pixels - low) * (255 / (high - low or 1))).astype(np.uint8)
    return [_png(image.reshape(source.image)) for image in grey]


def _png(grey: npt.NDArray[np.uint8]) -> str:
    enlarge = max(1, -(-SHORTEST_SIDE // min(grey.shape)))
    if enlarge * max(grey.shape) > 4 * SHORTEST_SIDE:
        enlarge = 1
    file = io.BytesIO()
    Image.fromarray(grey.repeat(enlarge, 0).repeat(enlarge, 1)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
