"""The parameters of both estimators: allowed values, the settings of a fit, and the warnings at its end."""

import warnings
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, Options, StrOptions

from nnmpi.training.fit_state import FitSettings, FitState

CONSTRAINTS: dict[str, Any] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
    "solver": [StrOptions({"sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "deterministic": ["boolean"],
    "dtype": [StrOptions({"float32", "float64"}), None],
    "comm": "no_validation",
    "n_jobs": [Interval(Integral, 1, None, closed="left"), Options(Integral, {-1}), None],
}


def check(estimator: Any) -> None:
    """Check the parameters.

    Raises
    ------
    ValueError
        If one is not allowed.
    """
    if estimator.solver == "lbfgs":
        raise ValueError(
            "solver='lbfgs' is not available in nnmpi, which trains in steps over batches: allowed are 'adam' and 'sgd'"
        )
    estimator._validate_params()
    hidden = hidden_sizes(estimator)
    if not all(isinstance(size, Integral) and int(size) > 0 for size in hidden):
        raise ValueError(f"hidden_layer_sizes must be whole numbers > 0, got {hidden}.")


def hidden_sizes(estimator: Any) -> list[Any]:
    """Return the units of each hidden layer."""
    sizes = estimator.hidden_layer_sizes
    return list(sizes if hasattr(sizes, "__iter__") else [sizes])


def has_partial_fit(estimator: Any) -> bool:
    """Return True if the estimator has ``partial_fit``; else raise an ``AttributeError`` with the reason."""
    if estimator.solver not in ("sgd", "adam"):
        raise AttributeError(f"partial_fit is only available with the solvers sgd and adam, not {estimator.solver}")
    return True


def settings_of(estimator: Any, samples: int, incremental: bool, seed: int) -> FitSettings:
    """Return the settings of a fit; `samples` is the number of samples."""
    batch_size = min(200, samples) if estimator.batch_size == "auto" else estimator.batch_size
    if batch_size > samples:
        warnings.warn(
            f"batch_size is {batch_size}, larger than the sample size {samples}. It is going to be clipped",
            stacklevel=4,
        )
    converted: dict[str, Any] = {
        "l2": float(estimator.alpha),
        "batch_size": int(min(batch_size, samples)),
        "max_iter": 1 if incremental else int(estimator.max_iter),
        "seed": seed,
    }
    for field in fields(FitSettings):  # NumPy's numbers become Python's, which can be sent to the ranks of n_jobs
        if field.name not in converted:
            converted[field.name] = field.type(getattr(estimator, field.name))  # type: ignore[operator]
    return FitSettings(**converted)


def warn_of_end(state: FitState, estimator: Any, incremental: bool) -> None:
    """Warn if a fit did not end by convergence."""
    if state.end == "stopped":
        warnings.warn("Training interrupted by user.", stacklevel=5)
    elif state.end == "diverged":
        warnings.warn(
            f"the loss became NaN or infinite in epoch {state.n_iter}: the weights with the best validation score are "
            f"kept; lower learning_rate_init (it is {estimator.learning_rate_init})",
            ConvergenceWarning,
            stacklevel=5,
        )
    elif not state.end and not incremental:
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
            "converged yet.",
            ConvergenceWarning,
            stacklevel=5,
        )
