"""Build an ONNX graph node by node."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from nnmpi import __version__

OPSETS = {"": 17, "ai.onnx.ml": 3}  # of 2022: onnxruntime 1.12 and later run them
IR_VERSION = 8  # the file format of that time

DTYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "uint64": TensorProto.UINT64,
    "bool": TensorProto.BOOL,
    "str": TensorProto.STRING,
}


class Graph:
    """Inputs, constants, nodes and outputs. A method that adds a value returns the name of the value."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        """Create an empty graph. Only inputs may have a name in `reserved`, the names of columns."""
        self._reserved = set(reserved)
        self._count = 0
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []

    def input(self, name: str, dtype: str, columns: int) -> str:
        """Add an input of shape (rows, columns)."""
        self._inputs.append(helper.make_tensor_value_info(name, DTYPES[dtype], ["rows", columns]))
        return name

    def output(self, name: str, value: str, dtype: str, columns: int | None) -> None:
        """Make `value` an output of shape (rows, columns), or (rows,) if `columns` is None.

        Its name is `name`. If a column has that name, underscores are appended.
        """
        while name in self._reserved:
            name += "_"
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        shape: list[str | int] = ["rows"] if columns is None else ["rows", columns]
        self._outputs.append(helper.make_tensor_value_info(name, DTYPES[dtype], shape))

    def constant(self, value: npt.ArrayLike) -> str:
        """Add numbers, booleans or texts. Python integers become int64, Python floats float64."""
        array = np.asarray(value)
        name = self._new_name("constant")
        if array.dtype.kind == "U":
            texts = [text.encode() for text in array.reshape(-1).tolist()]
            self._constants.append(helper.make_tensor(name, TensorProto.STRING, array.shape, texts))
        else:
            self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        name = self._new_name(operator.lower())
        self._nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def cast(self, value: str, dtype: str) -> str:
        """Add a node that converts `value` to another dtype."""
        return self.add("Cast", value, to=DTYPES[dtype])

    def model(self, properties: dict[str, str]) -> ModelProto:
        """Return the ONNX model of this graph, with `properties` in its metadata."""
        graph = helper.make_graph(self._nodes, "nnmpi", self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="nnmpi",
            producer_version=__version__,
        )
        helper.set_model_props(model, properties)
        return model

    def _new_name(self, prefix: str) -> str:
        while True:
            self._count += 1
            name = f"{prefix}_{self._count}"
            if name not in self._reserved:
                return name
