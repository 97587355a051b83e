"""How much a model needs each column: the rise of its loss when the column is shuffled (L. Breiman 2001)."""

from dataclasses import dataclass, replace

import numpy as np

from nnmpi.data.table import Encoding
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
    numbers = None if whole.numbers is None else whole.numbers[rows]
    part = replace(whole, x=whole.x[rows], y=whole.y[rows], sizes=[len(rows)], rows=whole.rows[rows], numbers=numbers)
    names = model.scaler.feature_names if isinstance(model.scaler, Encoding) else None
    weights = np.abs(model.architecture.views(model.parameters)[0][1:]).sum(axis=1)
    columns = np.argsort(-weights, kind="stable")[:MOST_COLUMNS].tolist()
    repeats = min(REPEATS, WORK // max(1, len(rows) * model.architecture.parameters * len(columns)))
    if not repeats:
        return []
    before = predictions.loss(part, world)
    found = []
    for column in columns:
        original = part.x[:, 1 + column].copy()
        rises = []
        for _ in range(repeats):
            part.x[:, 1 + column] = random.permutation(original)
            rises.append(predictions.loss(part, world) - before)
        part.x[:, 1 + column] = original
        found.append(
            Importance(names[column] if names else f"feature {column}", float(np.mean(rises)), float(np.std(rises)))
        )
    return sorted(found, key=lambda importance: -importance.rise)
