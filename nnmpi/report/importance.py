"""Permutation importance of columns: the rise of the loss when a column is shuffled (L. Breiman 2001)."""

from dataclasses import dataclass, replace

import numpy as np

from nnmpi.data.table import Encoding
from nnmpi.files.model import Model
from nnmpi.mpi.world import World
from nnmpi.report.predictions import Predictions

REPEATS = 5
MOST_ROWS = 2000
MOST_COLUMNS = 60  # at most: those with the largest weights in the first layer
WORK = 2 * 10**10  # multiplications in all, at most
SEED = 0


@dataclass(frozen=True)
class Importance:
    """The mean rise of the loss when a column is shuffled, and the standard deviation over the repeats."""

    column: str
    rise: float
    deviation: float


def permutation_importance(predictions: Predictions, world: World) -> list[Importance]:
    """Return the importance of columns on a sample of the test part, the largest first; [] if it takes too long."""
    model, test = predictions.model, predictions.part
    random = np.random.default_rng(SEED)
    rows = np.sort(random.permutation(len(test.x))[:MOST_ROWS])
    part = replace(
        test,
        x=test.x[rows],
        y=test.y[rows],
        sizes=[len(rows)],
        rows=test.rows[rows],
        numbers=None if test.numbers is None else test.numbers[rows],
        weights=None if test.weights is None else test.weights[rows],
    )
    features = features_of_columns(model)
    weights = np.abs(model.architecture.views(model.parameters)[0]).sum(axis=1)  # row 0 is the bias
    columns = sorted(features, key=lambda column: -float(weights[features[column]].max()))[:MOST_COLUMNS]
    repeats = min(REPEATS, WORK // max(1, len(rows) * model.architecture.parameters * len(columns)))
    if not repeats:
        return []
    loss = predictions.loss(part, world)
    importances = []
    for column in columns:
        positions = features[column]
        original = part.x[:, positions]
        rises = []
        for _ in range(repeats):
            part.x[:, positions] = original[random.permutation(len(rows))]
            rises.append(predictions.loss(part, world) - loss)
        part.x[:, positions] = original
        importances.append(Importance(column, float(np.mean(rises)), float(np.std(rises))))
    return sorted(importances, key=lambda importance: -importance.rise)


def features_of_columns(model: Model) -> dict[str, list[int]]:
    """Return the positions of the features of each table column in ``Part.x``; in arrays each feature is a column."""
    encoding = model.scaler
    if not isinstance(encoding, Encoding):
        return {f"feature {i}": [1 + i] for i in range(model.architecture.sizes[0])}
    columns = [*encoding.numbers, *encoding.indicators]
    columns += [i for i, values in encoding.categories.items() for _ in values]
    features: dict[str, list[int]] = {}
    for position, i in enumerate(columns, start=1):
        features.setdefault(encoding.columns[i].name, []).append(position)
    return features
