"""A trained network as a fitted scikit-learn pipeline, made of scikit-learn's own classes.

Transformers are fitted to a table of two rows that looks like the training part. So they have all attributes that this
version of scikit-learn needs. Then the fitted numbers are replaced by those of the model.
"""

import io
from typing import Any

import numpy as np

from nnmpi.arrays import Floats
from nnmpi.data.scaler import Scaler
from nnmpi.data.table import Encoding
from nnmpi.files.model import Model

SCIKIT_LEARN_NAMES = {"sigmoid": "logistic"}  # activations that have another name there


def serialized(model: Model, suffix: str) -> bytes:
    """Return the bytes of a ``.skops`` or a ``.joblib`` file."""
    if suffix == ".skops":
        import skops.io

        return bytes(skops.io.dumps(pipeline_of(model)))
    import joblib

    file = io.BytesIO()
    joblib.dump(pipeline_of(model), file)
    return file.getvalue()


def pipeline_of(model: Model) -> Any:
    """Return a fitted ``Pipeline``, which takes an array of raw features or a frame with the columns of a table."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    network = _regressor(model) if model.targets.task == "regression" else _classifier(model)
    steps: list[tuple[str, Any]] = [("network", network)]
    if model.architecture.dtype == "float32":
        steps.insert(0, ("rounding", FunctionTransformer(np.float32)))
    encoding = model.scaler
    if not isinstance(encoding, Encoding):
        scaler = StandardScaler().fit(np.zeros((2, len(encoding.mean))))
        _set_scaler(scaler, encoding)
        return Pipeline([("scaler", scaler), *steps])
    steps.insert(0, ("columns", _column_transformer(encoding)))
    if any(column.part for column in encoding.columns):
        from nnmpi.export.date_columns import DateColumns

        dates: dict[str, list[str]] = {}
        for column in encoding.columns:
            if column.part:
                dates.setdefault(column.name, []).append(column.part)
        others = [column.name for column in encoding.columns if not column.part]
        steps.insert(0, ("dates", DateColumns(dates, others)))
    return Pipeline(steps)


def _column_transformer(encoding: Encoding) -> Any:
    """Return the features of a table in the order of the encoding: numbers, indicators of missing ones, categories."""
    import pandas
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns, numbers = encoding.columns, encoding.numbers
    categories = {i: values for i, values in encoding.categories.items() if values}
    rows: dict[str, Any] = {columns[i].label: [0.0, np.nan if i in encoding.indicators else 0.0] for i in numbers}
    rows |= {columns[i].label: np.array([values[0]] * 2, _dtype(columns[i].kind)) for i, values in categories.items()}
    transformers: list[tuple[str, Any, list[str]]] = []
    if numbers:
        standardize = Pipeline([("imputer", SimpleImputer(add_indicator=True)), ("scaler", StandardScaler())])
        transformers.append(("numbers", standardize, [columns[i].label for i in numbers]))
    if categories:
        lists = [np.array(values, _dtype(columns[i].kind)) for i, values in categories.items()]
        one_hot = OneHotEncoder(categories=lists, handle_unknown="ignore", sparse_output=False)
        transformers.append(("categories", one_hot, [columns[i].label for i in categories]))
    transformer = ColumnTransformer(transformers).fit(pandas.DataFrame(rows))
    if numbers:
        fitted = transformer.named_transformers_["numbers"]
        fitted["imputer"].statistics_ = encoding.fill[numbers]
        count = len(numbers) + len(encoding.indicators)
        _set_scaler(fitted["scaler"], Scaler(encoding.mean[:count], encoding.scale[:count]))
    return transformer


def _dtype(kind: str) -> Any:
    return object if kind == "text" else np.float64


def _set_scaler(fitted: Any, scaler: Scaler) -> None:
    fitted.mean_, fitted.scale_, fitted.var_ = scaler.mean.copy(), scaler.scale.copy(), np.square(scaler.scale)


def _regressor(model: Model) -> Any:
    """Return an ``MLPRegressor`` whose last layer outputs numbers in the units of the targets."""
    from sklearn.neural_network import MLPRegressor

    assert model.target_scaler
    layers = _layers(model)
    weight, bias = layers[-1]
    layers[-1] = weight * model.target_scaler.scale, bias * model.target_scaler.scale + model.target_scaler.mean
    return _network(MLPRegressor, model, layers, "identity")


def _classifier(model: Model) -> Any:
    """Return an ``MLPClassifier``. As in scikit-learn, two softmax outputs become one sigmoid of their difference."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import LabelBinarizer

    activation = model.architecture.output_activation
    layers = _layers(model)
    weight, bias = layers[-1]
    if len(bias) == 2 and activation == "softmax":
        layers[-1] = weight[:, 1:] - weight[:, :1], bias[1:] - bias[:1]
        activation = "sigmoid"
    network = _network(MLPClassifier, model, layers, SCIKIT_LEARN_NAMES.get(activation, activation))
    classes = model.targets.classes
    if classes is None:  # several labels per sample: the classes are the positions of the columns
        network._label_binarizer = LabelBinarizer().fit(np.eye(network.n_outputs_, dtype=np.intp))
        network.classes_ = network._label_binarizer.classes_
        return network
    network.classes_ = classes
    network._label_binarizer = LabelBinarizer().fit(np.repeat(classes, 2))
    if network.n_outputs_ > 1:
        network._label_binarizer.y_type_ = "multiclass"  # with two outputs, too, the larger one decides
    return network


def _layers(model: Model) -> list[tuple[Floats, Floats]]:
    """Return the weights, shape (fan_in, fan_out), and the biases of each layer."""
    layers = model.architecture.views(model.parameters)
    return [(layer[1:].astype(np.float64), layer[0].astype(np.float64)) for layer in layers]


def _network(estimator: Any, model: Model, layers: list[tuple[Floats, Floats]], out_activation: str) -> Any:
    """Return an `estimator`, a class of scikit-learn, with the attributes that its ``predict`` needs."""
    architecture = model.architecture
    activation = SCIKIT_LEARN_NAMES.get(architecture.activation, architecture.activation)
    network = estimator(hidden_layer_sizes=architecture.sizes[1:-1], activation=activation)
    network.coefs_ = [np.ascontiguousarray(weight) for weight, _ in layers]
    network.intercepts_ = [bias for _, bias in layers]
    network.n_features_in_, network.n_outputs_ = architecture.sizes[0], len(layers[-1][1])
    network.n_layers_, network.out_activation_ = len(architecture.sizes), out_activation
    return network
