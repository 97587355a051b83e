"""Compare the predictions of an exported file with those of nnmpi."""

import io
from collections.abc import Callable

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.table import Encoding
from nnmpi.files.model import Model

Raw = Array | dict[str, Array]  # rows of an array, or the columns of a table as returned by `raw_columns`
Predict = Callable[[Raw], tuple[Array, Array | None]]  # labels and probabilities, if there are any; or numbers and None


def runner(content: bytes, suffix: str, model: Model) -> Predict:
    """Return a function that predicts with the file of this `content`, in the library for its format."""
    return _run_onnx(content, model) if suffix == ".onnx" else _run_pipeline(content, suffix, model)


def difference(model: Model, predicted: tuple[Array, Array | None], outputs: Array, codes: Array) -> float:
    """Return the largest difference between a file's predictions and the `outputs` and `codes` of nnmpi.

    Probabilities are compared directly, numbers in standard deviations of the target. A different label counts as the
    difference between nnmpi's probabilities of the two labels, and an unknown label as infinite.
    """
    if model.targets.task == "regression":
        assert model.target_scaler
        scale = model.target_scaler.scale
        expected = outputs * scale + model.target_scaler.mean
        return _largest((predicted[0].reshape(expected.shape) - expected) / scale)
    labels, probabilities = predicted
    if model.targets.task == "multilabel":
        label_difference = _largest((2 * outputs - 1)[labels.astype(np.bool_) != codes])
        probability_difference = np.inf if probabilities is None else _largest(probabilities - outputs)
        return float(np.maximum(label_difference, probability_difference))
    expected = outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
    classes = model.targets.classes
    assert classes is not None
    file_codes = np.minimum(np.searchsorted(classes, labels.astype(classes.dtype)), len(classes) - 1)
    if not (classes[file_codes] == labels).all():
        return np.inf
    rows = np.arange(len(codes))
    label_difference = _largest(expected[rows, codes] - expected[rows, file_codes])
    probability_difference = 0.0 if probabilities is None else _largest(probabilities - expected)
    return float(np.maximum(label_difference, probability_difference))  # NaN if one of them is NaN


def _largest(differences: Array) -> float:
    return float(np.abs(differences).max(initial=0))


def _run_onnx(content: bytes, model: Model) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def predict(raw: Raw) -> tuple[Array, Array | None]:
        outputs = session.run(None, onnx_inputs(model, raw))
        return outputs[0], outputs[1] if len(outputs) > 1 else None

    return predict


def onnx_inputs(model: Model, raw: Raw) -> dict[str, Array]:
    """Return the inputs of the graph for these rows; see `nnmpi.export.onnx_table`."""
    if not isinstance(raw, dict):
        return {"X": raw.astype(np.float64, copy=False)}
    assert isinstance(model.scaler, Encoding)
    categories = {model.scaler.columns[i].name: values for i, values in model.scaler.categories.items()}
    inputs: dict[str, Array] = {}
    for name, values in raw.items():
        if values.dtype.kind == "O":
            missing = ""
            while missing in categories[name]:
                missing += "?"
            values = np.array([missing if text is None else text for text in values.tolist()], object)
        elif values.dtype.kind == "M":
            values = values.astype(np.int64)
        inputs[name] = values.reshape(-1, 1)
    return inputs


def _run_pipeline(content: bytes, suffix: str, model: Model) -> Predict:
    if suffix == ".skops":
        import skops.io

        pipeline = skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    else:
        import joblib

        pipeline = joblib.load(io.BytesIO(content))
    has_probabilities = model.targets.task != "regression" and model.architecture.output_activation != "identity"

    def predict(raw: Raw) -> tuple[Array, Array | None]:
        if isinstance(raw, dict):
            import pandas

            raw = pandas.DataFrame(raw)
        else:
            raw = raw.astype(np.float64, copy=False)
        return pipeline.predict(raw), pipeline.predict_proba(raw) if has_probabilities else None

    return predict
