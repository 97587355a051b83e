"""A trained network as an ONNX graph: from raw rows to labels and probabilities, or to numbers.

Numbers are scaled in float64 and rounded once to the dtype of the network. The layers are computed in float64, as in
nnmpi's own predictions; the file has their parameters in the dtype of the network.
"""

import json

from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.export.onnx_graph import Graph
from nnmpi.export.onnx_table import encode
from nnmpi.files.model import Model

LARGEST = 2_000_000_000  # bytes of parameters; a protobuf message has at most 2 GiB

OPERATORS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "identity": "Identity"}


def serialized(model: Model) -> bytes:
    """Return the bytes of an ONNX file.

    Raises
    ------
    InputError
        If the model is too large for a file, or a name, category or label is not valid Unicode.
    """
    if model.parameters.nbytes > LARGEST:
        raise InputError(
            f"an ONNX file holds up to 2 GB of parameters, and the model has {model.parameters.nbytes / 1e9:.1f} GB: "
            "export it as .joblib"
        )
    try:
        return bytes(_graph_of(model).model(_properties(model)).SerializeToString())
    except UnicodeEncodeError as error:
        raise InputError(f"a name, category or label of the model is not valid Unicode ({error.reason})") from None


def _graph_of(model: Model) -> Graph:
    dtype = model.architecture.dtype
    if isinstance(model.scaler, Encoding):
        graph = Graph(column.name for column in model.scaler.columns)
        logits = _layers(graph, model, encode(graph, model.scaler, dtype))
    else:
        graph = Graph("X")
        x = graph.input("X", "float64", model.architecture.sizes[0])
        centred = graph.add("Sub", x, graph.constant(model.scaler.mean))
        scaled = graph.add("Div", centred, graph.constant(model.scaler.scale))
        logits = _layers(graph, model, graph.cast(scaled, dtype))
    if model.targets.task == "regression":
        _add_numbers(graph, model, logits)
    elif model.targets.task == "multilabel":
        _add_labels(graph, model, logits)
    else:
        _add_classes(graph, model, logits)
    return graph


def _layers(graph: Graph, model: Model, h: str) -> str:
    """Add the layers, and return the logits in float64, shape (rows, outputs), for the features `h`."""
    layers = model.architecture.views(model.parameters)
    h = graph.cast(h, "float64")
    for i, layer in enumerate(layers):
        weight, bias = (graph.cast(graph.constant(array), "float64") for array in (layer[1:], layer[0]))
        h = graph.add("Gemm", h, weight, bias)
        if i < len(layers) - 1:
            h = graph.add(OPERATORS[model.architecture.activation], h)
    return h


def _add_numbers(graph: Graph, model: Model, outputs: str) -> None:
    """Add the output ``prediction``, in the units of the targets."""
    assert model.target_scaler
    scaled = graph.add("Mul", outputs, graph.constant(model.target_scaler.scale))
    numbers = graph.add("Add", scaled, graph.constant(model.target_scaler.mean))
    several = model.targets.outputs > 1
    if not several:
        numbers = graph.add("Squeeze", numbers, graph.constant([1]))
    graph.output("prediction", numbers, "float64", model.targets.outputs if several else None)


def _add_classes(graph: Graph, model: Model, logits: str) -> None:
    """Add the outputs ``label`` and, unless the network has identity outputs, ``probabilities``."""
    classes, activation = model.targets.classes, model.architecture.output_activation
    assert classes is not None
    binary = model.targets.kind == "binary"
    if binary:
        positive = graph.add("Greater", logits, graph.constant([0.0]))
        code = graph.add("Squeeze", graph.cast(positive, "int64"), graph.constant([1]))
    else:
        code = graph.add("ArgMax", logits, axis=1, keepdims=0)
    label = graph.add("Gather", graph.constant(classes), code)
    graph.output("label", label, "str" if classes.dtype.kind == "U" else classes.dtype.name, None)
    if activation == "identity":
        return
    p = graph.add("Softmax", logits, axis=1) if activation == "softmax" else graph.add(OPERATORS[activation], logits)
    if binary:
        p = graph.add("Concat", graph.add("Sub", graph.constant([1.0]), p), p, axis=1)
    graph.output("probabilities", p, "float64", len(classes))


def _add_labels(graph: Graph, model: Model, logits: str) -> None:
    """Add the outputs ``label``, 1 if a sample has a label, and ``probabilities``; shape (rows, labels) each."""
    positive = graph.cast(graph.add("Greater", logits, graph.constant([0.0])), "int64")
    graph.output("label", positive, "int64", model.targets.outputs)
    graph.output("probabilities", graph.add("Sigmoid", logits), "float64", model.targets.outputs)


def _properties(model: Model) -> dict[str, str]:
    """Return the classes or labels in the order of the columns of ``probabilities``, or the names of the targets."""
    if model.targets.task == "multilabel":
        return {"labels": json.dumps(model.targets.labels)}
    if model.targets.classes is not None:
        return {"classes": json.dumps(model.targets.classes.tolist())}
    return {"targets": json.dumps(model.recipe.target)}
