"""What the parameters of both estimators may be."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

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


def check(solver: Any, hidden: list[int]) -> None:
    """Refuse what scikit-learn's constraints cannot say.

    Raises
    ------
    ValueError
        For the solver lbfgs, and for layers without units.
    """
    if solver == "lbfgs":
        raise ValueError(
            "solver='lbfgs' is not available in nnmpi, which trains in steps over batches: allowed are 'adam' and 'sgd'"
        )
    if any(size <= 0 for size in hidden):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")


def trains_in_steps(estimator: Any) -> bool:
    """Whether there is a ``partial_fit``; if not, says why."""
    if estimator.solver not in ("sgd", "adam"):
        raise AttributeError(f"partial_fit is only available with the solvers sgd and adam, not {estimator.solver}")
    return True
