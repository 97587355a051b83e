"""How much a model needs each column: the rise of its loss when the column is shuffled (L. Breiman 2001)."""

from dataclasses import dataclass, replace

import numpy as np

from nnmpi.data.table import Encoding
from nnmpi.files.model import Model
from nnmpi.mpi.world import World
from nnmpi.report.predictions import Predictions

REPEATS = 5
MOST_ROWS = 2000
MOST_COLUMNS = 60  # those with the largest weights in the first layer
WORK = 2 * 10**10  # multiplications in all
SEED = 0


@dataclass(frozen=True)
class Importance:
    """The mean rise of the loss when a column is shuffled, and the standard deviation over the repeats."""

    column: str
    rise: float
    deviation: float


def permutation_importance(predictions: Predictions, world: World) -> list[Importance]:
    """The importance of the columns on a sample of the test part, the largest first; [] where it takes too long."""
    model, whole = predictions.model, predictions.part
    random = np.random.default_rng(SEED)
    rows = np.sort(random.permutation(len(whole.x))[:MOST_ROWS])
    part = replace(
        whole,
        x=whole.x[rows],
        y=whole.y[rows],
        sizes=[len(rows)],
        rows=whole.rows[rows],
        numbers=None if whole.numbers is None else whole.numbers[rows],
        weights=None if whole.weights is None else whole.weights[rows],
    )
    features = features_of_columns(model)
    weights = np.abs(model.architecture.views(model.parameters)[0]).sum(axis=1)  # row 0 is the bias
    columns = sorted(features, key=lambda column: -float(weights[features[column]].max()))[:MOST_COLUMNS]
    repeats = min(REPEATS, WORK // max(1, len(rows) * model.architecture.parameters * len(columns)))
    if not repeats:
        return []
    before = predictions.loss(part, world)
    found = []
    for column in columns:
        places = features[column]
        original = part.x[:, places]
        rises = []
        for _ in range(repeats):
            part.x[:, places] = original[random.permutation(len(rows))]
            rises.append(predictions.loss(part, world) - before)
        part.x[:, places] = original
        found.append(Importance(column, float(np.mean(rises)), float(np.std(rises))))
    return sorted(found, key=lambda importance: -importance.rise)


def features_of_columns(model: Model) -> dict[str, list[int]]:
    """Where the features of each column of a table stand in ``Part.x``; of arrays each feature is a column."""
    encoding = model.scaler
    if not isinstance(encoding, Encoding):
        return {f"feature {i}": [1 + i] for i in range(model.architecture.sizes[0])}
    columns = [*encoding.numbers, *encoding.indicators]
    columns += [i for i, values in encoding.categories.items() for _ in values]
    features: dict[str, list[int]] = {}
    for place, i in enumerate(columns, start=1):
        features.setdefault(encoding.columns[i].name, []).append(place)
    return features
