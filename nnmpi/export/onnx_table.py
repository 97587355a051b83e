"""The encoding of a table as nodes of an ONNX graph, with an input for each raw column.

| column | input, shape (rows, 1) | missing value |
| --- | --- | --- |
| numbers, booleans, categories that are numbers | float64 | NaN |
| categories that are texts | string | a text that is not a category, such as the empty text |
| dates, times | int64: microseconds since 1970-01-01 00:00 | the smallest int64, NumPy's value for NaT |
"""

from nnmpi.data.columns import Column
from nnmpi.data.table import Encoding
from nnmpi.export.onnx_dates import date_parts
from nnmpi.export.onnx_graph import Graph


def encode(graph: Graph, encoding: Encoding, dtype: str) -> str:
    """Add the inputs and the nodes of the encoding. Return the features in `dtype`, shape (rows, features)."""
    inputs: dict[str, str] = {}
    for column in encoding.columns:
        if column.name not in inputs:
            dtype_of_input = "str" if column.kind == "text" else "int64" if column.part else "float64"
            inputs[column.name] = graph.input(column.name, dtype_of_input, 1)
    features = _numbers(graph, encoding, inputs, dtype)
    for i, categories in encoding.categories.items():
        if categories:
            features.append(_one_hot(graph, encoding.columns[i], inputs, categories, dtype))
    return graph.add("Concat", *features, axis=1)


def _numbers(graph: Graph, encoding: Encoding, inputs: dict[str, str], dtype: str) -> list[str]:
    """Return the numbers, with missing ones filled in, and then the indicators of missing ones; standardized."""
    numbers = encoding.numbers
    if not numbers:
        return []
    parts: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys(encoding.columns[i].name for i in numbers if encoding.columns[i].part):
        wanted = [encoding.columns[i].part for i in numbers if encoding.columns[i].name == name]
        parts |= {(name, part): node for part, node in date_parts(graph, inputs[name], wanted).items()}
    columns = [encoding.columns[i] for i in numbers]
    raw = graph.add("Concat", *(parts.get((c.name, c.part), inputs[c.name]) for c in columns), axis=1)
    missing = graph.add("IsNaN", raw)
    values = graph.add("Where", missing, graph.constant(encoding.fill[numbers]), raw)
    if encoding.indicators:
        positions = graph.constant([numbers.index(i) for i in encoding.indicators])
        indicators = graph.cast(graph.add("Gather", missing, positions, axis=1), "float64")
        values = graph.add("Concat", values, indicators, axis=1)
    count = len(numbers) + len(encoding.indicators)
    centred = graph.add("Sub", values, graph.constant(encoding.mean[:count]))
    return [graph.cast(graph.add("Div", centred, graph.constant(encoding.scale[:count])), dtype)]


def _one_hot(
    graph: Graph, column: Column, inputs: dict[str, str], categories: tuple[str | float, ...], dtype: str
) -> str:
    """Return a feature for each category. All are 0 if the value is not a category."""
    value = inputs[column.name]
    if column.kind == "code":
        return graph.cast(graph.add("Equal", value, graph.constant([[float(number) for number in categories]])), dtype)
    texts = [str(text).encode() for text in categories]
    features = graph.add("OneHotEncoder", value, domain="ai.onnx.ml", cats_strings=texts, zeros=1)
    features = graph.add("Squeeze", features, graph.constant([1]))
    return features if dtype == "float32" else graph.cast(features, dtype)
