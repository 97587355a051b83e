"""The input and the state of a fit, in plain arrays and numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nnmpi.arrays import Array, Floats, Indices
from nnmpi.memory import check_memory
from nnmpi.nn.architecture import Architecture

AT_ONCE = 256  # rows that `dense` converts at a time


@dataclass(frozen=True)
class FitSettings:
    """The settings of a fit. The names without a comment are scikit-learn's parameters."""

    solver: str
    l2: float  # alpha
    batch_size: int
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    dropout: float
    deterministic: bool
    seed: int  # of dropout, and of the order of the samples if each rank brings its own rows


@dataclass
class Samples:
    """The samples that an estimator is fitted to.

    Attributes
    ----------
    x : array, shape (n, features)
        The features, C-contiguous; the caller's own array if it has the right dtype and layout.
    y : array, shape (n,) or (n, outputs)
        Class codes for more than two classes; otherwise the target of each output.
    weights : array, shape (n,), or None
    training, validation : array
        The rows of each part; `validation` is None without early stopping.
    shared : bool
        Whether all ranks have all samples. If not, each rank has the training rows of its shards, then its own
        validation rows.
    """

    x: Array
    y: Array
    weights: Floats | None
    training: Indices
    validation: Indices | None = None
    shared: bool = True


class Optimizer(NamedTuple):
    """The state that `partial_fit` continues from, besides the weights."""

    state: Array
    learning_rate: float
    updates: int


@dataclass
class FitState:
    """The state of a fit, at its start and after each epoch. Another fit can continue from it."""

    architecture: Architecture
    parameters: Array
    optimizer: Array = field(default_factory=lambda: np.zeros(0))
    learning_rate: float = 0.0
    updates: int = 0  # in the state of the optimizer
    samples_seen: int = 0  # in all epochs
    no_improvement: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    best_loss: float = np.inf
    best_score: float = -np.inf
    best: Array | None = None  # parameters with the best validation score
    n_iter: int = 0
    end: str = ""  # "converged", "diverged", "stopped" (by Ctrl-C), "ended by a callback"; "" after max_iter epochs


def attributes_of(state: FitState) -> dict[str, Any]:
    """Return the attributes of an estimator whose fit ends in this state; they share no memory with it."""
    by_score = state.best is not None
    layers = state.architecture.views(state.parameters if state.best is None else state.best)
    return {
        "coefs_": [layer[1:].copy() for layer in layers],
        "intercepts_": [layer[0].copy() for layer in layers],
        "_optimizer": Optimizer(state.optimizer.copy(), state.learning_rate, state.updates),
        "_no_improvement_count": state.no_improvement,
        "n_iter_": state.n_iter,
        "t_": state.samples_seen,
        "loss_curve_": list(state.loss_curve),
        "loss_": state.loss_curve[-1] if state.loss_curve else np.nan,
        "best_loss_": None if by_score else state.best_loss,
        "validation_scores_": list(state.validation_scores) if by_score else None,
        "best_validation_score_": state.best_score if by_score else None,
    }


def failed(state: FitState) -> bool:
    """Return whether no weights are left that are finite and have a finite loss."""
    if state.best is None:
        return state.end == "diverged" or not np.isfinite(state.parameters).all()
    return not np.isfinite(state.best).all()


def initial_parameters(architecture: Architecture, random: np.random.RandomState) -> Array:
    """Draw scikit-learn's initial parameters: uniform in ``±√(f / (fan_in + fan_out))``, f = 2 for logistic, else 6."""
    flat: Array = np.zeros(architecture.parameters, architecture.dtype)
    for layer in architecture.views(flat):
        fan_in, fan_out = layer.shape[0] - 1, layer.shape[1]
        bound = np.sqrt((2.0 if architecture.activation == "sigmoid" else 6.0) / (fan_in + fan_out))
        layer[1:] = random.uniform(-bound, bound, (fan_in, fan_out))
        layer[0] = random.uniform(-bound, bound, fan_out)
    return flat


def packed(architecture: Architecture, coefs: list[Array], intercepts: list[Array]) -> Array:
    """Return scikit-learn's arrays of weights and biases in one vector."""
    flat: Array = np.zeros(architecture.parameters, architecture.dtype)
    views = architecture.views(flat)
    if [view[1:].shape for view in views] != [np.shape(weights) for weights in coefs]:
        raise ValueError(
            f"the weights have the shapes {[np.shape(weights) for weights in coefs]}, the data and hidden_layer_sizes "
            f"need {[view[1:].shape for view in views]}: fit anew, with warm_start=False"
        )
    for view, weights, bias in zip(views, coefs, intercepts, strict=True):
        view[1:], view[0] = weights, bias
    return flat


def dense(X: Any, dtype: str | None, empty: Callable[..., Array] = np.empty) -> Array:
    """Return `X` as a C-contiguous array of the dtype to compute in; `X` itself if it is one already."""
    chosen = np.dtype(dtype or ("float32" if X.dtype == np.float32 else "float64"))
    is_sparse = hasattr(X, "tocsr")  # does not import SciPy, which the ranks of n_jobs do not need
    if not is_sparse and X.dtype == chosen and X.flags.c_contiguous:
        return X  # type: ignore[no-any-return]
    count, features = X.shape
    check_memory(count * features * chosen.itemsize, f"X, {count} × {features} numbers as a dense array,")
    x = empty((count, features), chosen)
    rows = X.tocsr() if is_sparse else X
    for start in range(0, count, AT_ONCE):
        block = rows[start : start + AT_ONCE]
        x[start : start + AT_ONCE] = block.toarray() if is_sparse else block
    return x


def printer(settings: FitSettings, start: FitState) -> Callable[[FitState], None]:
    """Return a function that prints the lines that scikit-learn prints after an epoch."""
    adaptive = settings.solver == "sgd" and settings.learning_rate == "adaptive"
    rate = start.learning_rate

    def print_epoch(state: FitState) -> None:
        nonlocal rate
        lines = [f"Iteration {state.n_iter}, loss = {state.loss_curve[-1]:.8f}"]
        if state.best is not None:
            lines.append(f"Validation score: {state.validation_scores[-1]:f}")
        lowered = adaptive and state.learning_rate != rate
        if lowered or state.end == "converged":
            what = "Training loss" if state.best is None else "Validation score"
            then = "Learning rate too small. Stopping." if adaptive else "Stopping."
            then = f"Setting learning rate to {state.learning_rate:f}" if lowered else then
            lines.append(
                f"{what} did not improve more than tol={settings.tol:f} for {settings.n_iter_no_change:.0f} "
                f"consecutive epochs. {then}"
            )
        rate = state.learning_rate
        print("\n".join(lines), flush=True)

    return print_epoch
