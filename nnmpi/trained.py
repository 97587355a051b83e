"""A trained network, used with NumPy alone: no MPI, no scikit-learn."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.sources import Request, check_plain
from nnmpi.data.sources.frames import frame_source, is_frame
from nnmpi.data.table import Encoding
from nnmpi.files.atomic import write_whole
from nnmpi.files.model import Model, read_model, write_model
from nnmpi.nn.predict import CHUNK, in_float64


class TrainedNetwork:
    """A network that was trained, with the scaling of its features and the labels of its classes.

    It predicts in float64, whatever it was trained in.

    Attributes
    ----------
    classes : array, shape (classes,), or None
        The class labels in the order of the columns of `predict_proba`; None where there are no classes.
    labels : tuple of str
        What the columns are called of a network for labels of which a sample may have several; else empty.
    n_features : int
        How many features a sample has, before categories and dates become features of their own.
    columns : tuple of str or None
        The columns that a network takes that was trained on a table.
    architecture : Architecture
        Layer sizes, activations, loss and dtype.
    parameters : array
        All weights and biases in one flat vector.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.architecture, self.parameters = model.architecture, model.parameters
        self.classes, self.labels = model.targets.classes, model.targets.labels
        self.columns: tuple[str, ...] | None = None
        self.n_features = model.architecture.sizes[0]
        if isinstance(model.scaler, Encoding):
            self.columns = tuple(dict.fromkeys(column.name for column in model.scaler.columns))
            self.n_features = len(model.scaler.columns)
        self._network = in_float64(model.architecture, model.parameters, CHUNK)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """The predicted classes, shape (n,), or numbers, shape (n,) or (n, outputs), in the units of the targets.

        Of labels: 1 where the probability is above ½, else 0; shape (n, labels).

        Parameters
        ----------
        X : array-like, shape (n, features)
            Raw features, as in training; images may keep their shape (n, height, width). Of a network that was trained
            on a table, a pandas or Polars frame with its `columns`, in any order.

        Raises
        ------
        ValueError
            If `X` has another number of features, or holds numbers that are not finite.
        """
        logits, outputs = self._outputs(X)
        codes = self._model.targets.decided(logits.T)
        if self.labels:
            return codes.astype(np.intp)
        if self.classes is not None:
            return np.asarray(self.classes[codes])
        assert self._model.target_scaler
        numbers = outputs * self._model.target_scaler.scale + self._model.target_scaler.mean
        return numbers if numbers.shape[1] > 1 else numbers[:, 0]

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """The probability of each class, shape (n, classes), in the order of `classes`, or of each of the `labels`.

        Raises
        ------
        ValueError
            As `predict`; and if the network has no probabilities: a regression, or classes with identity outputs.
        """
        if self._model.targets.task == "regression" or self.architecture.output_activation == "identity":
            raise ValueError(f"a network with {self.architecture.output_activation} outputs has no probabilities")
        _, outputs = self._outputs(X)
        return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``model.safetensors`` to `path`, which `nnmpi.load` and the commands read."""
        write_model(Path(path), self._model, sync=True)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the network for other programs to `path`, as the command ``nnmpi export`` does.

        Parameters
        ----------
        path : path
            It ends in ``.onnx``, or in ``.skops`` or ``.joblib`` for a fitted scikit-learn pipeline.

        Raises
        ------
        InputError
            If it has another ending, or what the format needs is not installed.
        """
        from nnmpi.export import check_format, check_needed, exported

        check_format(Path(path))
        check_needed(Path(path), self._model)
        write_whole(Path(path), exported(self._model, Path(path).suffix))

    def _rows(self, X: Any) -> npt.NDArray[Any]:
        """The samples of `X` as numbers, shape (n, n_features)."""
        encoding = self._model.scaler if isinstance(self._model.scaler, Encoding) else None
        if encoding and is_frame(X):
            source = frame_source(X, Request("X", targets=False, known=encoding.columns))
            rows = np.empty((source.size, source.features), source.dtype)
            source.read(np.arange(source.size), rows)
            return rows
        if encoding:
            check_plain("X", encoding.columns)
        samples = np.asarray(X)
        return samples.reshape(len(samples), -1) if samples.ndim > 2 else samples

    def _outputs(self, X: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The logits and the outputs of all samples, shape (n, outputs) each."""
        samples = self._rows(X)
        if samples.ndim != 2 or samples.shape[1] != self.n_features:
            raise ValueError(f"X has shape {samples.shape}; this network takes (samples, {self.n_features})")
        shape = len(samples), self.architecture.sizes[-1]
        logits, outputs = np.empty(shape), np.empty(shape)
        x = np.ones((CHUNK, 1 + self.architecture.sizes[0]), self.parameters.dtype)  # column 0 feeds the bias
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(samples), CHUNK):
                raw = samples[start : start + CHUNK]
                rows = x[: len(raw)]
                self._model.scaler.transform(raw, rows[:, 1:])
                if not np.isfinite(rows).all():
                    row, feature = np.argwhere(~np.isfinite(rows[:, 1:]))[0].tolist()
                    if isinstance(self._model.scaler, Encoding):
                        feature = self._model.scaler.numbers[feature]
                    value = samples[start + row, feature]
                    raise ValueError(
                        f"X[{start + row}, {feature}] is {value}, which {rows.dtype} cannot hold when scaled"
                    )
                wide = rows.T.astype(np.float64)
                logits[start : start + len(raw)] = self._network.forward(self._network.bind([wide]))[0].T
                outputs[start : start + len(raw)] = self._network.predict(wide).T
        return logits, outputs


def load(path: str | os.PathLike[str]) -> TrainedNetwork:
    """A trained network from a run's directory or its ``model.safetensors``.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged.
    """
    return TrainedNetwork(read_model(Path(path)))
