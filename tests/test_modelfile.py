"""Model files: a model is read back as written, has the same bytes each time, and damage is refused in one line."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmpi.data.scaler import Scaler
from nnmpi.data.targets import Targets
from nnmpi.errors import InputError
from nnmpi.files import atomic as files
from nnmpi.files.model import Model, Recipe, read_model, write_model
from nnmpi.nn.architecture import Architecture

search = settings(max_examples=300, deadline=None, derandomize=True)


def scaler(n, start):
    return Scaler(np.arange(n) + start, 1 + np.arange(n) / 3)


def model(targets, loss, output, hidden=(3,), dtype="float32"):
    sizes = (2, *hidden, targets.outputs)
    architecture = Architecture(sizes, "tanh", output, loss, dtype)
    parameters = np.random.default_rng(0).normal(size=architecture.parameters).astype(dtype)
    target_scaler = scaler(targets.outputs, 5.0) if targets.kind == "numbers" else None
    return Model(architecture, parameters, scaler(2, -1.0), target_scaler, targets, Recipe("digits", 0.2, 42, False))


def one_hot(classes):
    return model(Targets("one-hot", np.unique(classes), len(classes)), "cross-entropy", "softmax")


MODELS = {
    "int classes": one_hot([-3, 0, 7]),
    "uint8 classes": model(Targets("one-hot", np.array([1, 200], np.uint8), 2), "cross-entropy", "softmax"),
    "string classes": one_hot(["", "ä “quoted”\n", "zebra"]),
    "bool classes": one_hot([False, True]),
    "binary": model(Targets("binary", np.array(["no", "yes"]), 1), "binary-cross-entropy", "sigmoid"),
    "classes as numbers": model(Targets("one-hot", np.arange(4), 4), "mse", "sigmoid", dtype="float64"),
    "number": model(Targets("numbers", None, 1), "mse", "identity"),
    "numbers": model(Targets("numbers", None, 3), "mse", "identity", dtype="float64"),
    "labels": model(Targets("labels", None, 3, ("a", "", "ä")), "binary-cross-entropy", "sigmoid"),
    "no hidden layer": model(Targets("numbers", None, 1), "mse", "identity", hidden=()),
}


def assert_equal(read, written):
    assert read.architecture == written.architecture
    assert read.recipe == written.recipe
    assert read.parameters.dtype == written.parameters.dtype
    assert read.parameters.tobytes() == written.parameters.tobytes()
    assert read.scaler.mean.tolist() == written.scaler.mean.tolist()
    assert read.scaler.scale.tolist() == written.scaler.scale.tolist()
    assert (read.target_scaler is None) == (written.target_scaler is None)
    if written.target_scaler:
        assert read.target_scaler.mean.tolist() == written.target_scaler.mean.tolist()
        assert read.target_scaler.scale.tolist() == written.target_scaler.scale.tolist()
    assert (read.targets.kind, read.targets.outputs) == (written.targets.kind, written.targets.outputs)
    assert read.targets.labels == written.targets.labels
    assert (read.targets.classes is None) == (written.targets.classes is None)
    if written.targets.classes is not None:
        assert read.targets.classes.tolist() == written.targets.classes.tolist()
        assert read.targets.classes.dtype.kind in ("i" if written.targets.classes.dtype.kind == "u" else "biU")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_refused(path, *words):
    with pytest.raises(InputError) as refused:
        read_model(path)
    message = str(refused.value)
    assert message.startswith(str(path))
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sync", [True, False])
def test_what_is_written_comes_back(path, name, sync):
    write_model(path, MODELS[name], sync)
    assert_equal(read_model(path), MODELS[name])


def test_a_directory_stands_for_the_model_in_it(path):
    write_model(path, MODELS["binary"], False)
    assert_equal(read_model(path.parent), MODELS["binary"])


def test_tensors_have_the_names_and_shapes_of_the_contract(path):
    write_model(path, MODELS["numbers"], False)
    shapes = {name: tensor.shape for name, tensor in safetensors.numpy.load_file(path).items()}
    assert shapes == {
        "layers.0.weight": (2, 3),
        "layers.0.bias": (3,),
        "layers.1.weight": (3, 3),
        "layers.1.bias": (3,),
        "scaler.mean": (2,),
        "scaler.scale": (2,),
        "target_scaler.mean": (3,),
        "target_scaler.scale": (3,),
    }


def test_tensors_hold_the_weights(path):
    write_model(path, MODELS["no hidden layer"], False)
    tensors = safetensors.numpy.load_file(path)
    bias, *weight = MODELS["no hidden layer"].parameters.tolist()
    assert tensors["layers.0.bias"].tolist() == [bias]
    assert tensors["layers.0.weight"][:, 0].tolist() == weight


def test_the_same_model_has_the_same_bytes(path):
    contents = set()
    for name in ("a", "b"):
        write_model(path.with_name(name), MODELS["string classes"], False)
        contents.add(path.with_name(name).read_bytes())
    assert len(contents) == 1


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(path):
    code = (
        "import sys, pathlib, test_modelfile as t;"
        "[t.write_model(pathlib.Path(sys.argv[1]) / n, m, False) for n, m in t.MODELS.items()]"
    )
    digests = []
    for i in ("1", "2"):  # another seed of Python's hashes gives sets another order
        directory = path.parent / i
        directory.mkdir()
        environment = os.environ | {
            "PYTHONHASHSEED": i,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        }
        subprocess.run([sys.executable, "-c", code, str(directory)], check=True, env=environment, timeout=60)
        digests.append({name: hashlib.sha256((directory / name).read_bytes()).digest() for name in MODELS})
    assert digests[0] == digests[1]


@pytest.mark.parametrize("sync", [True, False])
def test_a_written_file_replaces_the_old_one(tmp_path, sync):
    for data in (b"old, and longer", b"new"):
        files.write_whole(tmp_path / "file", data, sync)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch, fails):
    write_model(path, MODELS["int classes"], True)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, fails, full)
    with pytest.raises(OSError, match="No space left"):
        write_model(path, MODELS["binary"], True)
    assert_equal(read_model(path), MODELS["int classes"])


def test_a_write_that_was_cut_off_can_be_done_again(path):
    path.with_name(f".{path.name}.new").write_bytes(b"half of a mod")
    write_model(path, MODELS["binary"], True)
    assert_equal(read_model(path), MODELS["binary"])


# damage


def test_no_file(path):
    assert_refused(path, "no such file", "directory of a run")


def test_directory_without_a_model(path):
    with pytest.raises(InputError, match="no such file"):
        read_model(path.parent)


@pytest.mark.parametrize("name", ["string classes", "numbers"])
def test_a_truncated_file_is_refused(path, name):
    write_model(path, MODELS[name], False)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert_refused(path)


def test_a_file_with_more_at_its_end_is_refused(path):
    write_model(path, MODELS["binary"], False)
    path.write_bytes(path.read_bytes() + b"\0")
    assert_refused(path)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**31, 2**63, 2**64 - 1])
def test_a_wrong_header_length_is_refused(path, length):
    write_model(path, MODELS["binary"], False)
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    assert_refused(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x80\x04N.", b"{}" * 50, os.urandom(0) + b"\xff" * 64])
def test_other_files_are_refused(path, content):
    path.write_bytes(content)
    assert_refused(path, "not a complete safetensors file")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_safetensors_of_others_are_refused(path, metadata):
    path.write_bytes(safetensors.numpy.save({"layers.0.weight": np.zeros((2, 2))}, metadata))
    assert_refused(path, "not written by nnmpi")


def test_a_type_that_numpy_does_not_have_is_refused(path):
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    assert_refused(path)


def read_or_refuse(path):
    try:
        model = read_model(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017 (damage to a number is not noticed)
        return
    assert model.parameters.size == model.architecture.parameters


@given(data=st.data(), name=st.sampled_from(list(MODELS)))
@search
@pytest.mark.slow
def test_flipped_bytes_are_read_or_refused(tmp_path_factory, data, name):
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    write_model(path, MODELS[name], False)
    damaged = bytearray(path.read_bytes())
    positions = st.integers(0, len(damaged) - 1)
    for position, byte in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=4)):
        damaged[position] = byte
    path.write_bytes(damaged)
    read_or_refuse(path)


def parts_of(written, path):
    """Return the tensors and the description of a model file."""
    write_model(path, written, False)
    with safetensors.safe_open(path, framework="numpy") as file:
        return safetensors.numpy.load_file(path), json.loads(file.metadata()["nnmpi"])


def put_together(path, tensors, description):
    path.write_bytes(safetensors.numpy.save(tensors, {"nnmpi": json.dumps(description)}))


def changed(description, keys, value):
    inner = description
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return description


KEYS = [
    ("format",),
    ("architecture",),
    ("architecture", "sizes"),
    ("architecture", "activation"),
    ("architecture", "output_activation"),
    ("architecture", "loss"),
    ("architecture", "dtype"),
    ("architecture", "surprise"),
    ("targets",),
    ("classes",),
    ("labels",),
    ("recipe",),
    ("recipe", "surprise"),
]


@pytest.mark.parametrize("keys", KEYS, ids=".".join)
@pytest.mark.parametrize("value", [None, "?", -1, 1.5, [], ["?"], {}, [[]], 10**400, [1, "a"]], ids=repr)
def test_a_wrong_description_is_refused(path, keys, value):
    for name in ("int classes", "number"):
        tensors, description = parts_of(MODELS[name], path)
        if value is None and (keys == ("labels",) or (keys == ("classes",) and name == "number")):
            continue  # it has this value already
        put_together(path, tensors, changed(description, keys, value))
        assert_refused(path, "metadata or tensors are invalid")


@pytest.mark.parametrize(
    "keys", [("format",), ("architecture", "sizes"), ("targets",), ("classes",), ("recipe", "seed")]
)
def test_a_description_that_lacks_something_is_refused(path, keys):
    tensors, description = parts_of(MODELS["int classes"], path)
    inner = description
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    put_together(path, tensors, description)
    assert_refused(path, "metadata or tensors are invalid")


@pytest.mark.parametrize(
    "classes",
    [[1, 2], [1, 2, 3, 4], ["a"], [[1], [2], [3]], [None, None, None], [3, 2, 1], [1, 1, 2], [0.5, 1.5, 2.5]],
    ids=repr,
)
def test_classes_that_do_not_fit_are_refused(path, classes):
    tensors, description = parts_of(MODELS["int classes"], path)
    put_together(path, tensors, description | {"classes": classes})
    assert_refused(path, "metadata or tensors are invalid")


@pytest.mark.parametrize(
    "labels",
    [None, [], ["a"], ["a", "b"], ["a", "b", "b"], ["a", "b", 3], ["a", "b", "c", "d"], ["a", "b", "\ud800"], "abc"],
    ids=repr,
)
def test_labels_that_do_not_fit_are_refused(path, labels):
    tensors, description = parts_of(MODELS["labels"], path)
    put_together(path, tensors, description | {"labels": labels})
    assert_refused(path, "metadata or tensors are invalid")


@pytest.mark.parametrize(("loss", "output"), [("mse", "sigmoid"), ("cross-entropy", "softmax")])
def test_labels_with_another_loss_are_refused(path, loss, output):
    tensors, description = parts_of(MODELS["labels"], path)
    description["architecture"] |= {"loss": loss, "output_activation": output}
    put_together(path, tensors, description)
    assert_refused(path, "metadata or tensors are invalid")


@pytest.mark.parametrize(
    "sizes",
    [[2, 3], [2, 3, 3, 3], [2, 4, 3], [3, 3, 3], [2, 3, 0], [2, 3, -3], [2, 3.0, 3], ["2", 3, 3], [2, 10**12, 3]],
    ids=repr,
)
def test_sizes_that_do_not_fit_are_refused(path, sizes):
    tensors, description = parts_of(MODELS["int classes"], path)
    put_together(path, tensors, changed(description, ("architecture", "sizes"), sizes))
    assert_refused(path, "metadata or tensors are invalid")


@pytest.mark.parametrize(
    "name", ["layers.0.weight", "layers.1.bias", "scaler.mean", "scaler.scale", "target_scaler.scale"]
)
@pytest.mark.parametrize(
    "damage",
    [None, lambda t: t[:0], lambda t: t.ravel()[None], lambda t: t.astype(np.float16), lambda t: t.astype(np.int64)],
    ids=["missing", "empty", "another shape", "float16", "integers"],
)
def test_tensors_that_do_not_fit_are_refused(path, name, damage):
    tensors, description = parts_of(MODELS["numbers"], path)
    tensor = tensors.pop(name)
    if damage:
        tensors[name] = damage(tensor)
    put_together(path, tensors, description)
    assert_refused(path, "metadata or tensors are invalid", name)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "1", '"x"', "[" * 100_000, "9" * 5000], ids=lambda t: t[:8])
def test_a_description_that_is_none_is_refused(path, text):
    path.write_bytes(safetensors.numpy.save(parts_of(MODELS["binary"], path)[0], {"nnmpi": text}))
    assert_refused(path, "metadata or tensors are invalid")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(
    keys=st.sampled_from([*KEYS, ("recipe", "data"), ("recipe", "seed")]),
    value=JSON,
    name=st.sampled_from(list(MODELS)),
)
@search
@pytest.mark.slow
def test_any_description_is_read_or_refused(tmp_path_factory, keys, value, name):
    path = tmp_path_factory.getbasetemp() / "described.safetensors"
    tensors, description = parts_of(MODELS[name], path)
    put_together(path, tensors, changed(description, keys, value))
    read_or_refuse(path)
