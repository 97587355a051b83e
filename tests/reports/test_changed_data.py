"""Data that changed since a model or a checkpoint was written are refused."""

# reported as TensorAuto/OpenTau 502

import json

import numpy as np
import pytest
from jobs import needed, run
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

G = np.random.default_rng(3)
X = G.standard_normal((120, 6))
LABELS = np.array(["bad", "good"])[(X[:, 0] > 0).astype(int)]
NUMBERS = X @ G.standard_normal(6)


def swapped(a, i, j):
    b = a.copy()
    b[[i, j]] = a[[j, i]]
    return b


def changed(a, row):
    b = a.copy()
    b[row] = np.nextafter(a[row], 9)
    return b


# the data at the time of training, and later
CHANGES = {
    "rows sorted": ((X, LABELS), (X[np.argsort(X[:, 0])], LABELS[np.argsort(X[:, 0])])),
    "two rows swapped": ((X, LABELS), (swapped(X, 3, 100), swapped(LABELS, 3, 100))),
    "features of two rows swapped": ((X, LABELS), (swapped(X, 3, 100), LABELS)),
    "columns swapped": ((X, LABELS), (np.ascontiguousarray(X[:, [1, 0, 2, 3, 4, 5]]), LABELS)),
    "last bits of a row": ((X, LABELS), (changed(X, 77), LABELS)),
    "classes renamed": ((X, LABELS), (X, np.where(LABELS == "bad", "sick", "healthy"))),
    "one label": ((X, LABELS), (X, np.where(np.arange(120) == 50, LABELS[LABELS[50] != LABELS][0], LABELS))),
    "one row less": ((X, LABELS), (X[:-1], LABELS[:-1])),
    "one number": ((X, NUMBERS), (X, changed(NUMBERS, 11))),
    "numbers in another unit": ((X, NUMBERS), (X, NUMBERS * 1000)),
}
TRAIN = ("train", "--data", "d.npz", "--epochs", "2", "--output", "m")


def save(directory, x, y, **arrays):
    np.savez(directory / "d.npz", X=x, y=y, **arrays)


@pytest.mark.parametrize("change", CHANGES)
def test_evaluate_and_resume_refuse_changed_data(nnmpi, tmp_path, change):
    before, after = CHANGES[change]
    save(tmp_path, *before)
    nnmpi(*TRAIN, cwd=tmp_path).succeeded()
    save(tmp_path, *after)
    for command in (("evaluate", "m"), (*TRAIN, "--resume")):
        done = nnmpi(*command, cwd=tmp_path)
        assert done.status == 2
        assert len(done.messages) == 1
        assert "d.npz is not what the " in done.messages[0]
        assert not done.out


@pytest.mark.parametrize("part", ["test", "validation"])
def test_resume_refuses_changed_data_of_a_part(nnmpi, tmp_path, part):
    """One changed label of data for scores is enough. Otherwise the log would mix scores of two data sets."""
    save(tmp_path, X, LABELS)
    (tmp_path / "d.npz").rename(tmp_path / "part.npz")
    save(tmp_path, X, LABELS)
    command = (*TRAIN, f"--{part}-data", "part.npz")
    nnmpi(*command, cwd=tmp_path).succeeded()
    nnmpi(*command, "--resume", cwd=tmp_path).succeeded()
    labels = LABELS.copy()
    labels[5] = LABELS[LABELS[5] != LABELS][0]
    np.savez(tmp_path / "part.npz", X=X, y=labels)
    done = nnmpi(*command, "--resume", cwd=tmp_path)
    assert done.status == 2
    assert f"--resume: the samples of --{part}-data have changed" in done.messages[0]


def test_resume_refuses_changed_class_weights(nnmpi, tmp_path):
    save(tmp_path, X, LABELS)
    (tmp_path / "w.json").write_text('{"bad": 1, "good": 1}')
    command = (*TRAIN, "--class-weight", "w.json")
    nnmpi(*command, cwd=tmp_path).succeeded()
    (tmp_path / "w.json").write_text('{"good": 1.0}')
    nnmpi(*command, "--resume", cwd=tmp_path).succeeded()
    (tmp_path / "w.json").write_text('{"bad": 50}')
    done = nnmpi(*command, "--resume", cwd=tmp_path)
    assert done.status == 2
    assert "--resume: the weights in the file of --class-weight have changed" in done.messages[0]


@pytest.mark.mpi
def test_three_ranks_refuse_changed_data_and_take_the_same(nnmpi, mpi, tmp_path):
    save(tmp_path, X, LABELS)
    last = nnmpi(*TRAIN, cwd=tmp_path).succeeded().out.splitlines()[-1]
    commands = [mpi.nnmpi(3, "evaluate", "m"), mpi.nnmpi(3, *TRAIN, "--resume")]
    for command in commands:
        assert run(command, tmp_path).succeeded().out.splitlines()[-1] == last
    save(tmp_path, *CHANGES["classes renamed"][1])
    for command in commands:
        done = run(command, tmp_path)
        assert done.status == 2
        assert "is not what the " in done.messages[0]


def test_a_copy_in_another_type_and_archive_is_not_changed(nnmpi, tmp_path):
    x = np.round(X * 8) / 8
    save(tmp_path, x, NUMBERS > 0)
    last = nnmpi(*TRAIN, cwd=tmp_path).succeeded().out.splitlines()[-1]
    np.savez_compressed(tmp_path / "d.npz", X=x.astype(">f4"), y=(NUMBERS > 0), z=np.zeros(3))
    assert nnmpi("evaluate", "m", cwd=tmp_path).succeeded().out.splitlines()[-1] == last
    nnmpi(*TRAIN, "--resume", cwd=tmp_path).succeeded()


def test_explicit_data_are_never_compared(nnmpi, tmp_path):
    save(tmp_path, X, LABELS)
    nnmpi(*TRAIN, cwd=tmp_path).succeeded()
    save(tmp_path, X[::-1], LABELS[::-1])
    out = nnmpi("evaluate", "m", "--data", "d.npz", cwd=tmp_path).succeeded().out
    assert out.startswith("120 samples: all samples")


def test_digest_does_not_depend_on_the_number_of_ranks(nnmpi, tmp_path):
    save(tmp_path, X, NUMBERS)
    flags = ("--deterministic", "--epochs", "1", "--data", "d.npz")
    nnmpi("train", *flags, "--output", "one", cwd=tmp_path).succeeded()
    run(needed("openmpi").nnmpi(3, "train", *flags, "--output", "three"), tmp_path).succeeded()
    one, three = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "three"))
    assert one == three
    assert len(json.loads((tmp_path / "one" / "config.json").read_text())["data_digest"]) == 32


def test_model_without_a_digest_is_evaluated(nnmpi, tmp_path):
    save(tmp_path, X, LABELS)
    last = nnmpi(*TRAIN, cwd=tmp_path).succeeded().out.splitlines()[-1]
    path = tmp_path / "m" / "model.safetensors"
    with safe_open(path, "numpy") as file:
        description = json.loads(file.metadata()["nnmpi"])
    del description["recipe"]["data_digest"]
    save_file(load_file(path), path, {"nnmpi": json.dumps(description)})
    assert nnmpi("evaluate", "m", cwd=tmp_path).succeeded().out.splitlines()[-1] == last
