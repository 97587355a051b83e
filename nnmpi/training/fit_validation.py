"""The validation score of a fit, for early stopping."""

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.shards import held_shards
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.network import Network
from nnmpi.nn.predict import CHUNK
from nnmpi.training.fit_state import Samples


class Validation:
    """Scores the validation rows as scikit-learn does: accuracy or R², weighted by the sample weights."""

    def __init__(self, samples: Samples, architecture: Architecture, parameters: Array, world: World) -> None:
        assert samples.validation is not None
        self._world, self._x, self._rows = world, samples.x, samples.validation
        self._network = Network(architecture, parameters, CHUNK)
        self._shared = samples.shared
        self._y = self._whole(samples.y[self._rows])
        self._weights = None if samples.weights is None else self._whole(samples.weights[self._rows])
        self._loss = architecture.loss

    def _whole(self, own: Array) -> Array:
        """Return the targets or weights of all validation rows from those of each rank. All ranks take part."""
        if self._shared:
            return own
        return self._world.gather_rows(own.reshape(len(own), -1)).reshape(-1, *own.shape[1:])

    def score(self) -> float:
        """Return the score of the present parameters. All ranks take part, each with some chunks of the rows."""
        chunks = range(0, len(self._rows), CHUNK)
        share = held_shards(len(chunks), self._world.size, self._world.rank) if self._shared else range(len(chunks))
        outputs = [np.zeros((0, self._network.architecture.sizes[-1]))]
        # column 0 feeds the bias
        x: Array = np.ones((min(CHUNK, len(self._rows)), 1 + self._x.shape[1]), self._x.dtype)
        for start in chunks[share.start : share.stop]:
            rows = self._rows[start : start + CHUNK]
            x[: len(rows), 1:] = self._x[rows]
            outputs.append(self._network.predict(x[: len(rows)].T).T.astype(np.float64))
        predicted = self._world.gather_rows(np.concatenate(outputs))
        if not np.isfinite(predicted).all():
            return np.nan
        if self._loss in ("half-squared-error", "poisson"):
            from sklearn.metrics import r2_score

            return float(r2_score(self._y, predicted, sample_weight=self._weights))
        if self._y.ndim == 1:
            correct = predicted.argmax(axis=1) == self._y
        else:
            correct = ((predicted > 0.5) == self._y).all(axis=1)
        return float(np.average(correct, weights=self._weights))
