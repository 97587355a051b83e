"""What both estimators share: from scikit-learn's parameters and arrays to a fit, and back to its attributes."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from nnmpi.memory import check_memory
from nnmpi.mpi.open_world import open_world
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.network import Network
from nnmpi.training.fit import FitSettings, FitState, Samples, fit

Array = npt.NDArray[Any]

CHUNK = 256  # samples that go forward at once in a prediction
OUR_NAMES = {"logistic": "sigmoid"}  # of activations; the others have the same
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


class Optimizer(NamedTuple):
    """What `partial_fit` goes on from, besides the weights."""

    state: Array
    learning_rate: float
    updates: int


class MultilayerPerceptron(BaseEstimator):  # type: ignore[misc]
    """The parameters, the fit and the predictions of `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: dict[str, list[Any]] = {
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
        "comm": "no_validation",  # type: ignore[dict-item]
        "n_jobs": [Integral, None],
    }

    def _store(self, parameters: dict[str, Any]) -> None:
        """Keep the arguments of ``__init__``."""
        vars(self).update({name: value for name, value in parameters.items() if name not in ("self", "__class__")})

    # of scikit-learn's contract

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_clone__(self) -> Any:
        """A clone with the same communicator, which cannot be copied."""
        comm, self.comm = self.comm, None
        try:
            clone = super().__sklearn_clone__()
        finally:
            self.comm = comm
        clone.comm = comm
        return clone

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "comm": None}  # a communicator cannot be pickled

    # what the two classes add

    def _encode(self, y: Array, first: bool, incremental: bool) -> Array:
        raise NotImplementedError

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Array]:
        raise NotImplementedError

    def _outputs_of(self, y: Array) -> tuple[int, str, str]:
        """The number of outputs, scikit-learn's output activation, and the loss."""
        raise NotImplementedError

    def _weights_of(self, y: Array, sample_weight: Any) -> Any:
        return sample_weight

    # the fit

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool = False) -> Any:
        self._check_parameters()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        with open_world(self.comm) as world:
            with on_all_ranks(world):
                first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
                X, y = self._validated(X, y, reset=first)
                y = self._encode(y, first, incremental)
                if sample_weight is not None:
                    sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
                weights = self._weights_of(y, sample_weight)
            random = _same_random_state(self.random_state, world)
            with on_all_ranks(world):
                x = with_ones(X, self.dtype)
                state = self._state(x, y, random, first, incremental)
                training, validation = self._split(y, random)
                samples = Samples(x, self._as_targets(y, x.dtype), weights, training, validation)
                settings = self._settings(len(training), incremental, random)
            threads = 1 if self.deterministic else world.threads()
            with threadpool_limits(threads, user_api="blas"):
                self._run(settings, samples, state, random, world)
        self._take(state, incremental)
        return self

    def _check_parameters(self) -> None:
        if self.solver == "lbfgs":
            raise ValueError(
                "solver='lbfgs' is not available in nnmpi, which trains in steps over batches: allowed are 'adam' and "
                "'sgd'"
            )
        self._validate_params()
        if np.any(np.array(self._hidden()) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {self._hidden()}.")
        if self.n_jobs == 0:
            raise ValueError("n_jobs is 0; allowed are None, -1 for all cores, and numbers of ranks from 1")

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        return [int(size) for size in (sizes if hasattr(sizes, "__iter__") else [sizes])]

    def _state(
        self, x: Array, y: Array, random: np.random.RandomState, first: bool, incremental: bool
    ) -> FitState:
        """What the fit starts from: scikit-learn's initial parameters, or those that are there."""
        self.n_outputs_, activation, loss = self._outputs_of(y)
        sizes = x.shape[1] - 1, *self._hidden(), self.n_outputs_
        names = [OUR_NAMES.get(name, name) for name in (self.activation, activation)]
        architecture = Architecture(sizes, *names, loss, x.dtype.name)
        if first:
            self.n_layers_, self.out_activation_, self.t_ = len(sizes), activation, 0
            parameters = initial_parameters(architecture, random)
            self.loss_curve_, self._no_improvement_count = [], 0
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
            self.best_validation_score_ = -np.inf if self.early_stopping else None
            self.best_loss_ = None if self.early_stopping else np.inf
        else:
            parameters = packed(architecture, self.coefs_, self.intercepts_)
        state = FitState(
            architecture,
            parameters,
            np.zeros(0, x.dtype),
            float(self.learning_rate_init),
            seen=self.t_,
            no_improvement=self._no_improvement_count,
            loss_curve=list(self.loss_curve_),
            validation_scores=list(getattr(self, "validation_scores_", None) or []),
            best_loss=_or(getattr(self, "best_loss_", None), np.inf),
            best_score=_or(getattr(self, "best_validation_score_", None), -np.inf),
            best=parameters.copy() if self.early_stopping else None,
        )
        optimizer = getattr(self, "_optimizer", None)
        if incremental and isinstance(optimizer, Optimizer):
            state.optimizer, state.learning_rate, state.updates = optimizer
        return state

    def _split(self, y: Array, random: np.random.RandomState) -> tuple[Array, Array | None]:
        """The rows to train on, and those to validate on: as scikit-learn draws them."""
        rows = np.arange(len(y))
        if not self.early_stopping:
            return rows, None
        stratify = y.astype(bool) if self._stratifies() else None
        training, validation = train_test_split(
            rows, random_state=random, test_size=self.validation_fraction, stratify=stratify
        )
        if len(validation) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return training, validation

    def _stratifies(self) -> bool:
        return False

    def _as_targets(self, y: Array, dtype: npt.DTypeLike) -> Array:
        return y.astype(dtype) if y.ndim > 1 else y

    def _settings(self, samples: int, incremental: bool, random: np.random.RandomState) -> FitSettings:
        batch_size = min(200, samples) if self.batch_size == "auto" else self.batch_size
        if batch_size > samples:
            warnings.warn(
                f"Got `batch_size` {batch_size} larger than the sample size {samples}. It is going to be clipped",
                stacklevel=4,
            )
        names = FitSettings.__dataclass_fields__
        same = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return FitSettings(
            **{
                **same,
                "l2": float(self.alpha),
                "batch_size": int(min(batch_size, samples)),
                "max_iter": 1 if incremental else self.max_iter,
                "seed": int(random.randint(1 << 31)) if self.dropout else 0,
            }
        )

    def _run(
        self, settings: FitSettings, samples: Samples, state: FitState, random: np.random.RandomState, world: World
    ) -> None:
        """The fit itself, on this rank."""
        epochs: Iterator[FitState] = fit(settings, samples, state, random, world)
        try:
            for _ in epochs:
                if self.verbose and world.rank == 0:
                    print_epoch(state)
        except KeyboardInterrupt:
            if world.size > 1:  # the others wait in the middle of a step
                raise
            state.end = "stopped"

    def _take(self, state: FitState, incremental: bool) -> None:
        """Make the end of a fit this estimator's attributes, and say what is wrong with it."""
        early = state.best is not None
        layers = state.architecture.views(state.best if state.best is not None else state.parameters)
        self.coefs_ = [layer[1:].copy() for layer in layers]
        self.intercepts_ = [layer[0].copy() for layer in layers]
        self._optimizer = Optimizer(state.optimizer.copy(), state.learning_rate, state.updates)
        self._no_improvement_count = state.no_improvement
        self.n_iter_, self.t_, self.loss_curve_ = state.n_iter, state.seen, state.loss_curve
        self.loss_ = state.loss_curve[-1] if state.loss_curve else np.nan
        if early:
            self.validation_scores_, self.best_validation_score_ = state.validation_scores, state.best_score
        else:
            self.best_loss_ = state.best_loss
        if state.end == "stopped":
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif state.end == "diverged" and early:
            warnings.warn(
                f"the loss became NaN or infinite in epoch {state.n_iter}: the weights with the best validation score "
                f"are kept; lower learning_rate_init (it is {self.learning_rate_init})",
                ConvergenceWarning,
                stacklevel=4,
            )
        elif not state.end and not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )
        finite = all(np.isfinite(weights).all() for weights in (*self.coefs_, *self.intercepts_))
        if not finite or (state.end == "diverged" and not early):
            raise ValueError(NOT_FINITE)

    # predictions, which are this rank's own

    def _outputs(self, X: Any) -> Array:
        """The network's outputs, shape (n, outputs)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        names = [OUR_NAMES.get(name, name) for name in (self.activation, self.out_activation_)]
        sizes = tuple([self.coefs_[0].shape[0], *(layer.shape[1] for layer in self.coefs_)])
        loss = self._outputs_of(np.zeros((0, self.n_outputs_)))[2]
        architecture = Architecture(sizes, *names, loss, self.coefs_[0].dtype.name)
        parameters = packed(architecture, self.coefs_, self.intercepts_)
        network = Network(architecture, parameters, min(CHUNK, X.shape[0]))
        outputs = np.empty((X.shape[0], self.n_outputs_), parameters.dtype)
        x: Array = np.ones((CHUNK, X.shape[1] + 1), parameters.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, X.shape[0], CHUNK):
                rows = X[start : start + CHUNK]
                x[: rows.shape[0], 1:] = rows.toarray() if sparse.issparse(rows) else rows
                outputs[start : start + CHUNK] = network.predict(x[: rows.shape[0]].T).T
        return outputs


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


@contextmanager
def on_all_ranks(world: World) -> Iterator[None]:
    """Do something that may fail on some ranks only: then it fails on all. Nothing inside may be collective."""
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    problems = world.gather_bytes(str(error).encode() or b"error" if error else b"")
    if error:
        raise error
    for rank, text in enumerate(problems):
        if text:
            raise ValueError(f"{text.decode()} (on rank {rank} of {world.size})")


def _same_random_state(random_state: Any, world: World) -> np.random.RandomState:
    """A generator in the same state on all ranks: that of rank 0."""
    random: np.random.RandomState = check_random_state(random_state)
    if world.size == 1:
        return random
    if random_state is None:
        random = np.random.RandomState()  # not NumPy's global one
    name, keys, position, has_gauss, gauss = random.get_state()
    keys = np.append(keys, np.uint32(position))
    world.broadcast(keys)
    random.set_state((name, keys[:-1], int(keys[-1]), has_gauss, gauss))
    return random


def initial_parameters(architecture: Architecture, random: np.random.RandomState) -> Array:
    """What scikit-learn starts from: all uniform in ``±√(f / (fan_in + fan_out))``, f 2 with logistic units, else 6."""
    flat: Array = np.zeros(architecture.parameters, architecture.dtype)
    for layer in architecture.views(flat):
        fan_in, fan_out = layer.shape[0] - 1, layer.shape[1]
        bound = np.sqrt((2.0 if architecture.activation == "sigmoid" else 6.0) / (fan_in + fan_out))
        layer[1:] = random.uniform(-bound, bound, (fan_in, fan_out))
        layer[0] = random.uniform(-bound, bound, fan_out)
    return flat


def packed(architecture: Architecture, coefs: list[Array], intercepts: list[Array]) -> Array:
    """scikit-learn's arrays in one vector."""
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


def with_ones(X: Any, dtype: str | None, empty: Callable[..., Array] = np.empty) -> Array:
    """Samples with a column of ones before them, dense, in the dtype that is computed in."""
    count, features = X.shape
    chosen = np.dtype(dtype or ("float32" if X.dtype == np.float32 else "float64"))
    check_memory(count * (1 + features) * chosen.itemsize, f"X, {count} × {features} numbers as a dense array,")
    x = empty((count, 1 + features), chosen)
    x[:, 0] = 1
    if not sparse.issparse(X):
        x[:, 1:] = X
        return x
    rows = X.tocsr()
    for start in range(0, count, CHUNK):
        x[start : start + CHUNK, 1:] = rows[start : start + CHUNK].toarray()
    return x


def print_epoch(state: FitState) -> None:
    """A line for each epoch, as scikit-learn has it."""
    print(f"Iteration {len(state.loss_curve)}, loss = {state.loss_curve[-1]:.8f}", flush=True)
    if state.best is not None:
        print(f"Validation score: {state.validation_scores[-1]:f}", flush=True)
