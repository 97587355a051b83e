"""Equal results on any number of ranks, with both MPIs."""

from collections.abc import Callable

import numpy as np
import pytest
from jobs import Run

pytestmark = pytest.mark.mpi

TRAINED = ("--epochs", "3", "--batch-size", "50")  # digits has 1437 training samples: the last step has 37
EVERYTHING = (
    *("--dropout", "0.2", "--augment", "shift,rotate,noise", "--l2", "1e-3"),
    *("--early-stopping", "2", "--warmup-epochs", "0.5"),
)
DEVIATION = {"float64": 1e-9, "float32": 1e-3}
KEYS = {
    *("epoch", "step", "samples", "seconds", "samples_per_second", "learning_rate", "train_loss", "test_loss"),
    *("test_accuracy", "world_size"),
}

slow = pytest.mark.slow
more = pytest.mark.more("other numbers of ranks test the same")
worlds = [
    pytest.param("mpich", 2, "float64", marks=slow),
    *(pytest.param("openmpi", ranks, "float64", marks=slow) for ranks in (1, 3, 4)),
    *(pytest.param("mpich", ranks, "float64", marks=slow) for ranks in (3, 8)),
    *(pytest.param(mpi, ranks, "float32", marks=slow) for mpi, ranks in (("openmpi", 4), ("mpich", 3))),
    *(pytest.param(mpi, 2, "float32", marks=more) for mpi in ("openmpi", "mpich")),
    *(pytest.param(*case, "float64", marks=more) for case in (("openmpi", 2), ("mpich", 1), ("mpich", 4))),
    *(pytest.param(*case, marks=more) for case in (("openmpi", 8, "float64"), ("openmpi", 8, "float32"))),
]

Train = Callable[..., Run]


def deviation(run: Run, reference: Run) -> float:
    """Return the largest difference of a parameter, relative to the largest parameter."""
    return float(np.abs(run.parameters - reference.parameters).max() / np.abs(reference.parameters).max())


@pytest.mark.parametrize(("mpi", "ranks", "dtype"), worlds)
def test_parameters_agree_with_one_rank(train: Train, mpi: str, ranks: int, dtype: str) -> None:
    flags = (*TRAINED, "--dtype", dtype)
    run, reference = train(*flags, mpi=mpi, ranks=ranks), train(*flags)
    assert deviation(run, reference) <= DEVIATION[dtype]
    assert [m["test_accuracy"] for m in run.metrics] == [m["test_accuracy"] for m in reference.metrics]
    np.testing.assert_allclose(
        [m["train_loss"] for m in run.metrics], [m["train_loss"] for m in reference.metrics], DEVIATION[dtype]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("mpi", "ranks"), [("openmpi", 3), ("mpich", 4)])
def test_batches_may_be_smaller_than_the_number_of_shards(train: Train, mpi: str, ranks: int) -> None:
    flags = ("--data", "iris", "--epochs", "2", "--batch-size", "3", "--dtype", "float64", "--dropout", "0.2")
    assert deviation(train(*flags, mpi=mpi, ranks=ranks), train(*flags)) <= DEVIATION["float64"]


@pytest.mark.parametrize(("mpi", "ranks", "dtype"), worlds)
def test_each_sample_is_seen_once_an_epoch_and_all_is_recorded(train: Train, mpi: str, ranks: int, dtype: str) -> None:
    run = train(*TRAINED, "--dtype", dtype, mpi=mpi, ranks=ranks)
    assert run.config["samples"] == {"training": 1437, "validation": 0, "test": 360}
    assert [m["samples"] for m in run.metrics] == 3 * [1437]
    assert [m["epoch"] for m in run.metrics] == [1, 2, 3]
    assert [m["step"] for m in run.metrics] == [29, 58, 87]
    assert all(m.keys() >= KEYS and m["world_size"] == ranks for m in run.metrics)
    assert run.config["world_size"] == ranks == len(run.config["hosts"])
    assert all(run.config["hosts"])
    assert run.config["settings"]["dtype"] == dtype
    assert {"nnmpi", "numpy", "python", "mpi4py"} <= run.config["versions"].keys()
    assert {"openmpi": "open mpi", "mpich": "mpich"}[mpi] in run.config["mpi"].lower()


@pytest.mark.slow
@pytest.mark.parametrize(("mpi", "ranks"), [("openmpi", 2), pytest.param("mpich", 3, marks=slow)])
def test_ranks_of_one_host_share_memory(train: Train, mpi: str, ranks: int) -> None:
    assert train(*TRAINED, "--dtype", "float64", mpi=mpi, ranks=ranks).config["reduction"] == "shared memory"


@pytest.mark.parametrize(
    ("mpi", "ranks"),
    [("openmpi", 3), ("openmpi", 4), ("mpich", 2), *(pytest.param("openmpi", n, marks=more) for n in (2, 8))],
)
@pytest.mark.slow
def test_parameters_agree_with_everything_on(train: Train, mpi: str, ranks: int) -> None:
    flags = (*TRAINED, "--dtype", "float64", *EVERYTHING)
    run, reference = train(*flags, mpi=mpi, ranks=ranks), train(*flags)
    assert deviation(run, reference) <= DEVIATION["float64"]
    for name in ("samples", "test_accuracy", "validation_accuracy"):
        assert [m[name] for m in run.metrics] == [m[name] for m in reference.metrics]
    assert deviation(reference, train(*TRAINED, "--dtype", "float64")) > 1e-2  # these flags change the result


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("mpi", ["openmpi", "mpich"])
@pytest.mark.in_turn
def test_reduction_in_buckets_gives_the_same(train: Train, mpi: str, ranks: int) -> None:
    flags = (*TRAINED, "--dtype", "float64")
    run, reference = train(*flags, "--bucket-mb", "0.01", mpi=mpi, ranks=ranks), train(*flags)
    assert deviation(run, reference) <= DEVIATION["float64"]
    assert [m["test_accuracy"] for m in run.metrics] == [m["test_accuracy"] for m in reference.metrics]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mpi", "ranks", "rules", "bucket_mb"),
    [
        ("openmpi", 2, ("--l2", "1e-3"), ()),
        *(pytest.param("openmpi", ranks, ("--optimizer", "adam"), (), marks=slow) for ranks in (1, 3)),
        pytest.param("mpich", 2, ("--momentum", "0"), ("--bucket-mb", "0.3"), marks=slow),
        pytest.param("openmpi", 4, (), ("--bucket-mb", "0"), marks=slow),
    ],
)
def test_large_layers_agree_with_the_deterministic_reduction(
    train: Train, mpi: str, ranks: int, rules: tuple[str, ...], bucket_mb: tuple[str, ...]
) -> None:
    flags = (*TRAINED, "--dtype", "float64", "--hidden", "1000,60", *rules)
    run, reference = train(*flags, *bucket_mb, mpi=mpi, ranks=ranks), train(*flags, "--deterministic")
    assert deviation(run, reference) <= DEVIATION["float64"]


@pytest.mark.slow
def test_ranks_that_have_no_sample_in_a_step_take_part(train: Train) -> None:
    # 120 samples in batches of 17: the last step has one sample, which one of four ranks holds
    flags = ("--data", "iris", "--epochs", "3", "--batch-size", "17", "--dtype", "float64")
    run, reference = train(*flags, mpi="openmpi", ranks=4), train(*flags)
    assert deviation(run, reference) <= DEVIATION["float64"]
    assert [m["samples"] for m in run.metrics] == 3 * [120]
