"""A trained network that predicts with NumPy only: no MPI, no scikit-learn."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array
from nnmpi.data.sources import Request, check_plain
from nnmpi.data.sources.arrays import lost_in_array
from nnmpi.data.sources.frames import frame_source, is_frame
from nnmpi.data.table import Encoding
from nnmpi.files.atomic import write_whole
from nnmpi.files.model import Model, read_model, write_model
from nnmpi.nn.predict import CHUNK, check_finite, in_float64
from nnmpi.setting import naming_keywords


class TrainedNetwork:
    """A trained network, with the scaling of its features and the labels of its classes.

    It predicts in float64, also if it was trained in float32.

    Attributes
    ----------
    classes : array, shape (classes,), or None
        The class labels in the order of the columns of `predict_proba`; None if there are no classes.
    labels : tuple of str
        The names of the labels if a sample may have several; else empty.
    n_features : int
        The number of features of a sample, before categories and dates are encoded.
    columns : tuple of str or None
        The columns of the table that the network was trained on; None for an array.
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

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the predicted classes, shape (n,), or numbers in the units of the targets, shape (n,) or (n, outputs).

        For labels: 1 if the probability is above ½, else 0; shape (n, labels).

        Parameters
        ----------
        X : array-like, shape (n, features)
            Raw features, as in training. Images may keep their shape (n, height, width). For a network that was trained
            on a table: a pandas or Polars frame with its `columns`, in any order.

        Raises
        ------
        ValueError
            If `X` has another number of features, or holds numbers that are not finite, or that make the output so.
        """
        logits, outputs = self._outputs(X)
        codes = self._model.targets.decided(logits.T)
        if self.labels:
            return codes.astype(np.intp)
        if self.classes is not None:
            return np.asarray(self.classes[codes])
        assert self._model.target_scaler
        with np.errstate(over="ignore"):
            numbers = outputs * self._model.target_scaler.scale + self._model.target_scaler.mean
        check_finite(numbers)
        return numbers if numbers.shape[1] > 1 else numbers[:, 0]

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Return the probability of each class, in the order of `classes`, or of each label; shape (n, classes).

        Raises
        ------
        ValueError
            As in `predict`; and if the network has no probabilities: a regression, or classes with identity outputs.
        """
        if self._model.targets.task == "regression" or self.architecture.output_activation == "identity":
            raise ValueError(f"a network with {self.architecture.output_activation} outputs has no probabilities")
        _, outputs = self._outputs(X)
        return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as ``model.safetensors`` to `path`, for `nnmpi.load` and the commands."""
        write_model(Path(path), self._model, sync=True)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the network for other programs to `path`, as the command ``nnmpi export`` does.

        Parameters
        ----------
        path : path
            Its suffix is ``.onnx``, or ``.skops`` or ``.joblib`` for a fitted scikit-learn pipeline.

        Raises
        ------
        InputError
            If the suffix is another one, or a module that the format needs is not installed.
        """
        from nnmpi.export import check_format, check_needed, exported

        check_format(Path(path))
        check_needed(Path(path), self._model)
        write_whole(Path(path), exported(self._model, Path(path).suffix))

    @naming_keywords()
    def _rows(self, X: Any) -> Array:
        """Return the samples of `X` as numbers, shape (n, n_features)."""
        encoding = self._model.scaler if isinstance(self._model.scaler, Encoding) else None
        if encoding and is_frame(X):
            source = frame_source(X, Request("X", targets=False, known=encoding.columns))
            rows = np.empty((source.size, source.features), source.dtype)
            source.read(np.arange(source.size), rows)
            return rows
        if encoding:
            check_plain("X", encoding.columns)
        if problem := lost_in_array(X):
            raise ValueError(f"X {problem}")
        samples = np.asarray(X)
        if samples.dtype.kind not in "fiubO":
            remedy = ": use X.astype(float)" if samples.dtype.kind in "SU" else ""
            raise ValueError(f"X must hold real numbers, and its type is {samples.dtype}{remedy}")
        if samples.dtype.kind == "O":
            try:
                samples = samples.astype(np.float64)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"X must hold real numbers, none of them missing ({error})") from None
        return samples.reshape(len(samples), -1) if samples.ndim > 2 else samples

    def _outputs(self, X: npt.ArrayLike) -> tuple[Array, Array]:
        """Return the logits and the outputs of all samples, shape (n, outputs) each."""
        samples = self._rows(X)
        if samples.ndim != 2 or samples.shape[1] != self.n_features:
            raise ValueError(f"X has shape {samples.shape}; this network takes (samples, {self.n_features})")
        # one for each call: its arrays are views of each other, which copies, pickles and threads would not respect
        network = in_float64(self.architecture, self.parameters)
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
                        f"X[{start + row}, {feature}] is {value}, which is not finite in {rows.dtype} after scaling"
                    )
                inputs = rows.T.astype(np.float64)
                (z,) = network.forward(network.bind([inputs]))
                logits[start : start + len(raw)] = z.T
                network.activate(z)
                outputs[start : start + len(raw)] = z.T
        check_finite(outputs)
        return logits, outputs


def load(path: str | os.PathLike[str]) -> TrainedNetwork:
    """Load a trained network from the directory of a run or its ``model.safetensors``.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged.
    """
    return TrainedNetwork(read_model(Path(path)))
