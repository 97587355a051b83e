"""Damaged model files: each is refused in one line, or can evaluate and predict."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fuzzing import DEEP, Alone, changed, damaged, ends_well, fuzz, json_text
from hypothesis import given
from hypothesis import strategies as st
from test_modelfile import MODELS, parts_of

from nnmpi.commands.apply import evaluate_model, predict
from nnmpi.files.model import read_model, write_model

pytestmark = pytest.mark.slow

NAMES = sorted(MODELS)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a file of each model and data for it."""
    path = tmp_path_factory.mktemp("models")
    for name, model in MODELS.items():
        write_model(path / name, model, False)
    x = np.arange(60.0).reshape(30, 2)
    labels = {name: model.targets.classes for name, model in MODELS.items()}
    for name, classes in labels.items():
        y = np.arange(30) / 7 if classes is None else np.resize(classes, 30)
        np.savez(path / f"{name}.npz", X=x, y=np.column_stack([y] * 3) if name == "numbers" else y)
    return path


def header_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file and the bytes of its tensors."""
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:end]), data[end:]


def use(directory: Path, name: str, content: bytes) -> None:
    """Read, evaluate with and without data, predict to the screen and to files."""
    path = directory / "damaged.safetensors"
    path.write_bytes(content)
    world, data = Alone(), str(directory / f"{name}.npz")
    if model := ends_well(lambda: read_model(path)):
        ends_well(lambda: evaluate_model(path, data, False, world))
        if model.recipe.data != "digits":  # digits do not fit the models, and reading them is slow
            ends_well(lambda: evaluate_model(path, None, False, world))
        ends_well(lambda: predict(path, data, None, None, world))
        for out in ("out.csv", "out.npz"):
            ends_well(lambda out=out: predict(path, data, None, directory / out, world))


@given(data=st.data(), name=st.sampled_from(NAMES))
@fuzz
@pytest.mark.slow
def test_bytes(directory: Path, data: st.DataObject, name: str) -> None:
    use(directory, name, data.draw(damaged((directory / name).read_bytes())))


@given(data=st.data(), name=st.sampled_from(NAMES))
@fuzz
@pytest.mark.slow
def test_description(directory: Path, data: st.DataObject, name: str) -> None:
    tensors, description = parts_of(MODELS[name], directory / "whole")
    text = data.draw(json_text(description)).encode(errors="replace").decode()
    use(directory, name, safetensors.numpy.save(tensors, {"nnmpi": text}))


@given(data=st.data(), name=st.sampled_from(NAMES))
@fuzz
@pytest.mark.slow
def test_header(directory: Path, data: st.DataObject, name: str) -> None:
    header, rest = header_of((directory / name).read_bytes())
    text = data.draw(json_text(header)).encode(errors="surrogatepass")
    use(directory, name, struct.pack("<Q", len(text)) + text + rest)


NUMBERS = st.sampled_from([np.nan, np.inf, 0.0, -1.0, 1e300, -1e300, 3e38, 1e-320])


@given(data=st.data(), name=st.sampled_from(NAMES), numbers=st.lists(NUMBERS, min_size=1, max_size=4))
@fuzz
@pytest.mark.slow
def test_numbers(directory: Path, data: st.DataObject, name: str, numbers: list[float]) -> None:
    tensors, description = parts_of(MODELS[name], directory / "whole")
    for number in numbers:
        tensor = tensors[data.draw(st.sampled_from(sorted(tensors)))].ravel()
        with np.errstate(over="ignore"):
            tensor[data.draw(st.integers(0, tensor.size - 1))] = number
    use(directory, name, safetensors.numpy.save(tensors, {"nnmpi": json.dumps(description)}))


@given(data=st.data())
@fuzz
@pytest.mark.slow
def test_shapes(directory: Path, data: st.DataObject) -> None:
    """The tensors are as the header says, but do not fit together."""
    tensors, description = parts_of(MODELS[data.draw(st.sampled_from(NAMES))], directory / "whole")
    sizes = st.lists(st.integers(0, 5), max_size=3)
    kinds = st.sampled_from(["f4", "f8", "f2", "i4", "u1", "?", "i8"])
    for name in data.draw(st.lists(st.sampled_from([*sorted(tensors), "layers.2.weight", "x"]), max_size=3)):
        tensors[name] = np.ones(data.draw(sizes), data.draw(kinds))
    use(directory, "numbers", safetensors.numpy.save(tensors, {"nnmpi": json.dumps(data.draw(changed(description)))}))


# inputs that once caused a traceback, a high memory use, or escape codes on the screen

Change = Callable[[dict[str, Any]], Any]
REFUSED: dict[str, Change] = {
    "data is a number": lambda d: d["recipe"].update(data=5),
    "seed is a string": lambda d: d["recipe"].update(seed="x"),
    "seed is huge": lambda d: d["recipe"].update(seed=10**30),
    "all is kept for testing": lambda d: d["recipe"].update(test_fraction=1.0),
    "stratify is a list": lambda d: d["recipe"].update(stratify=[]),
    "a long class and many short ones": lambda d: d.update(classes=["x" * 10**6, *map(str, range(10**4))]),
    "classes of two kinds": lambda d: d.update(classes=["a", 1]),
    "half a character": lambda d: d.update(classes=["a", "b", "\ud800"]),
    "format is an escape": lambda d: d.update(format="\x1b]0;title\x07"),
    "key is an escape": lambda d: d["architecture"].update({"\x1b[2J": 1}),
    "more layers than stars": lambda d: d["architecture"].update(sizes=[2, *[10**9] * 20000, 3]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(directory: Path, name: str) -> None:
    tensors, description = parts_of(MODELS["string classes"], directory / "whole")
    REFUSED[name](description)
    path = directory / "trick"
    path.write_bytes(safetensors.numpy.save(tensors, {"nnmpi": json.dumps(description)}))
    assert ends_well(lambda: read_model(path)) is None


SHAPES = [[0, 2**63], [2**64 - 1, 0], [0, 2**62, 2**62], [1] * 100, [], [2**40]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["F32", "BF16", "F8_E4M3", "I64", "BOOL", "?"])
def test_declared_shapes(directory: Path, shape: list[int], kind: str) -> None:
    header, rest = header_of((directory / "binary").read_bytes())
    header["x"] = {"dtype": kind, "shape": shape, "data_offsets": [len(rest), len(rest)]}
    text = json.dumps(header).encode()
    path = directory / "trick"
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    assert ends_well(lambda: read_model(path)) is None


def test_deep_description(directory: Path) -> None:
    tensors, description = parts_of(MODELS["binary"], directory / "whole")
    text = json.dumps(description).replace('"digits"', DEEP)
    use(directory, "binary", safetensors.numpy.save(tensors, {"nnmpi": text}))
