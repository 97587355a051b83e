"""Compare the time of ``fit`` of nnmpi's MLPClassifier, with one process and with two ranks, with scikit-learn's.

Usage: .venv/bin/python scripts/bench_fit.py [--repeats 5] [--images FILE]

FILE contains Fashion-MNIST's training images (IDX); the file of labels is in the same directory. Without FILE only
synthetic samples are fitted. The three estimators alternate, so that other load on the machine affects all of them. The
ranks are started before the first measurement. Peak memory is measured in separate processes: it is the sum over
all processes of an estimator, in which shared memory counts once.
"""

# ruff: noqa: E402 (the number of threads must be set before NumPy is imported)

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"  # one BLAS thread for each process; BLAS reads it when NumPy is loaded

import numpy as np
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier as Theirs

sys.path.insert(0, str(Path(__file__).parent / "lib/bench"))
from processes import descendants

import nnmpi
from nnmpi.data.sources import open_source

warnings.simplefilter("ignore")  # the fits end before convergence


@dataclass(frozen=True)
class Case:
    """A row of the table: a data set and the parameters of the estimators."""

    name: str
    X: Any
    y: Any
    parameters: dict[str, Any]


def cases(images: str | None) -> list[Case]:
    """Return the cases to measure, in float32, the type of images and most tables."""
    X, y = make_classification(20_000, 100, n_informative=20, n_classes=10, random_state=0)
    adam = {"hidden_layer_sizes": (100,), "batch_size": 200}
    listed = [Case("20,000 × 100, 10 classes, (100,), adam, 200", X.astype(np.float32), y, adam | {"max_iter": 10})]
    if images:
        source = open_source(images)
        X = np.empty((source.size, source.features), source.dtype)
        source.read(np.arange(source.size), X)
        X = X.astype(np.float32) / 255
        sgd = {"hidden_layer_sizes": (512, 512), "solver": "sgd", "batch_size": 256, "learning_rate_init": 0.01}
        listed += [
            Case("Fashion-MNIST, (100,), adam, 200", X, source.y, adam | {"max_iter": 3}),
            Case("Fashion-MNIST, (512, 512), sgd, 256", X, source.y, sgd | {"max_iter": 2}),
        ]
    return listed


def estimators(case: Case, **fixed: Any) -> list[Any]:
    """Return scikit-learn's estimator, nnmpi's with one process, and nnmpi's with two ranks."""
    fixed = {"random_state": 0, "n_iter_no_change": 10**6, **case.parameters, **fixed}
    return [Theirs(**fixed), nnmpi.MLPClassifier(**fixed), nnmpi.MLPClassifier(**fixed, n_jobs=2)]


def measure(case: Case, repeats: int) -> str:
    """Return the row of a case: median seconds, speedup over scikit-learn, accuracies on the training samples."""
    fitted = estimators(case)
    fitted[2].set_params(max_iter=1).fit(case.X, case.y).set_params(max_iter=fitted[0].max_iter)  # starts the ranks
    seconds: list[list[float]] = [[] for _ in fitted]
    for _ in range(repeats):
        for times, estimator in zip(seconds, fitted, strict=True):
            start = time.perf_counter()
            estimator.fit(case.X, case.y)
            times.append(time.perf_counter() - start)
    medians = [statistics.median(times) for times in seconds]
    scores = " / ".join(f"{estimator.score(case.X[:10_000], case.y[:10_000]):.4f}" for estimator in fitted)
    one, two = (f"{m:.2f} s ({medians[0] / m:.2f} ×)" for m in medians[1:])
    return f"| {case.name} | {medians[0]:.2f} s | {one} | {two} | {scores} |"


def proportional(pid: int) -> int:
    """Return the memory of a process in bytes; shared pages are divided among their processes (Linux's Pss)."""
    with contextlib.suppress(OSError):  # the process has ended
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


def fit_in_a_process(images: str | None, row: int, which: int, begins: Event) -> None:
    """Load the data, set `begins`, and fit one estimator; runs in a process that `peak` starts."""
    case = cases(images)[row]
    begins.set()
    estimators(case, max_iter=1)[which].fit(case.X, case.y)


def peak(images: str | None, row: int, which: int) -> int:
    """Return the peak memory of all processes of one fit together, sampled every 10 ms."""
    context = multiprocessing.get_context("spawn")
    begins = context.Event()
    process = context.Process(target=fit_in_a_process, args=(images, row, which, begins))
    process.start()
    begins.wait()
    most = 0
    while process.is_alive():
        most = max(most, sum(proportional(pid) for pid in [process.pid, *descendants(process.pid)]))
        time.sleep(0.01)
    if process.exitcode:
        raise SystemExit(f"the process that fits ended with {process.exitcode}")
    return most


def memory(case: Case, images: str | None, row: int) -> str:
    """Return the row of a case: peaks in MB, and the difference to scikit-learn's in copies of the data."""
    theirs, *ours = (peak(images, row, which) for which in range(3))
    cells = (f"{m / 1e6:.0f} MB ({(m - theirs) / case.X.nbytes:+.2f} copies)" for m in ours)
    return f"| {case.name} | {case.X.nbytes / 1e6:.0f} MB | {theirs / 1e6:.0f} MB | {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images")
    arguments = parser.parse_args()
    print("| data, network, solver, batch | scikit-learn | one process | n_jobs=2 | accuracies |")
    print("| --- | --- | --- | --- | --- |")
    for case in cases(arguments.images):
        print(measure(case, arguments.repeats), flush=True)
    print("\n| peak memory | data | scikit-learn | one process | n_jobs=2 |")
    print("| --- | --- | --- | --- | --- |")
    for row, case in enumerate(cases(arguments.images)):
        print(memory(case, arguments.images, row), flush=True)
