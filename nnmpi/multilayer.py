"""The code that both estimators share: from scikit-learn's parameters and arrays to a fit, and to its attributes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from nnmpi.arrays import Array
from nnmpi.files.model import write_model
from nnmpi.launching.rank_pool import RankPool
from nnmpi.launching.rank_pools import rank_pool
from nnmpi.mlp_model import model_of
from nnmpi.mlp_parameters import check, hidden_sizes, settings_of, warn_of_end
from nnmpi.mpi.cores import available
from nnmpi.mpi.launcher import may_have_others
from nnmpi.mpi.open_world import open_world
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.predict import outputs_of
from nnmpi.training.fit import fit, limited_threads
from nnmpi.training.fit_below import MODULE, fit_below
from nnmpi.training.fit_callbacks import CallbackSupportMixin, callbacks_called
from nnmpi.training.fit_state import (
    FitSettings,
    FitState,
    Samples,
    attributes_of,
    dense,
    failed,
    initial_parameters,
    packed,
    printer,
)
from nnmpi.training.fit_targets import check_weights
from nnmpi.training.fit_together import check_same, on_all_ranks, same_random_state, sharded, split_rows

NNMPI_NAMES = {"logistic": "sigmoid"}  # activations that have another name in nnmpi
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


class MultilayerPerceptron(CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """The fit and the predictions of `MLPClassifier` and `MLPRegressor`."""

    comm: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_clone__(self) -> Any:
        """Return a clone with the same communicator, which cannot be copied."""
        comm, self.comm = self.comm, None
        try:
            clone = super().__sklearn_clone__()
        finally:
            self.comm = comm
        clone.comm = comm
        return clone

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "comm": None}  # a communicator cannot be pickled

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Array]:
        """Return the samples and targets, checked."""
        raise NotImplementedError

    def _encode(self, y: Array, incremental: bool, shard: bool, world: World) -> Array:
        """Return the targets: class codes, shape (n,), of three or more classes; else values, shape (n, outputs)."""
        raise NotImplementedError

    def _sample_weights(self, y: Array, sample_weight: Any, shard: bool, world: World) -> Any:
        return sample_weight

    def _output_layer(self, outputs: int) -> tuple[int, str, str]:
        """Return the number of outputs, scikit-learn's name of their activation, and the loss."""
        raise NotImplementedError

    def _is_stratified(self) -> bool:
        return False

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool = False, shard: bool = False) -> None:
        given = X, y  # for callbacks, as the caller gave them
        with self._rank_pool() as pool, open_world(self.comm) as world:
            shard = shard and world.size > 1
            with on_all_ranks(world):
                check(self)
                if incremental and self.early_stopping:
                    raise ValueError("partial_fit does not support early_stopping=True")
                first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
                X, y = self._validated(X, y, reset=first)
                if sample_weight is not None:
                    sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
            y = self._encode(y, incremental, shard, world)
            weights = self._sample_weights(y, sample_weight, shard, world)
            random = same_random_state(self.random_state, world)
            with on_all_ranks(world):
                x = dense(X, self.dtype, partial(pool.arrays.new, "x") if pool else np.empty)
                state = self._fit_state(x, y, random, first, incremental)
                seed = int(random.randint(1 << 31)) if self.dropout or shard else 0
                labels = y.astype(bool) if self._is_stratified() else None
                fraction = self.validation_fraction if self.early_stopping else None
                training, validation = split_rows(len(y), fraction, labels, random)
            y = y.astype(x.dtype) if y.ndim > 1 else y
            samples = Samples(x, y, weights, training, validation)
            if shard:
                samples = sharded(samples, world)
            else:
                classes = repr(np.asarray(getattr(self, "classes_", ())).tolist()).encode()  # y holds their codes
                check_same("samples", [x, y, weights, np.frombuffer(classes, np.uint8)], world)
            check_weights(weights, training, validation, world if shard else None)
            count = world.sum_exactly(len(samples.training)) if shard else len(samples.training)
            settings = settings_of(self, count, incremental, seed)
            check_same("parameters", [state.parameters, np.frombuffer(repr(settings).encode(), np.uint8)], world)
            with callbacks_called(self, state, world, *given, sample_weight, incremental) as after_epoch:
                if self.verbose and world.rank == 0:
                    after_epoch = [printer(settings, state), *after_epoch]
                if pool:
                    fit_below(pool, settings, samples, state, random, after_epoch)
                else:
                    with limited_threads(self.deterministic, world):
                        self._run(settings, samples, state, random, world, after_epoch)
                self._set_fitted(state, incremental)

    @contextmanager
    def _rank_pool(self) -> Iterator[RankPool | None]:
        """Yield the ranks that ``n_jobs`` asks for, or None if this process fits alone or under a launcher."""
        ranks = available() if self.n_jobs == -1 else self.n_jobs
        if not isinstance(ranks, Integral) or ranks < 2 or self.comm is not None or may_have_others():
            yield None
            return
        with rank_pool(MODULE, int(ranks)) as pool:
            yield pool

    def _architecture(self, features: int, hidden: list[int], outputs: int, dtype: str) -> Architecture:
        _, output_activation, loss = self._output_layer(outputs)
        activations = [NNMPI_NAMES.get(name, name) for name in (self.activation, output_activation)]
        return Architecture((features, *map(int, hidden), outputs), activations[0], activations[1], loss, dtype)

    def _fit_state(self, x: Array, y: Array, random: np.random.RandomState, first: bool, incremental: bool) -> FitState:
        """Return the state at the start of a fit: initial parameters as in scikit-learn, or those of the last fit."""
        self.n_outputs_, activation, _ = self._output_layer(y.shape[1] if y.ndim > 1 else 0)
        architecture = self._architecture(x.shape[1], hidden_sizes(self), self.n_outputs_, x.dtype.name)
        if not first:
            state = FitState(
                architecture,
                packed(architecture, self.coefs_, self.intercepts_),
                samples_seen=self.t_,
                no_improvement=self._no_improvement_count,
                loss_curve=list(self.loss_curve_),
            )
            if self.early_stopping:
                state.validation_scores = list(self.validation_scores_ or [])
            if self.early_stopping and self.best_validation_score_ is not None:
                state.best_score = self.best_validation_score_
            elif self.best_loss_ is not None:
                state.best_loss = self.best_loss_
        else:
            self.n_layers_, self.out_activation_ = len(architecture.sizes), activation
            state = FitState(architecture, initial_parameters(architecture, random))
        state.learning_rate = float(self.learning_rate_init)
        state.best = state.parameters.copy() if self.early_stopping else None
        optimizer = getattr(self, "_optimizer", None)
        if incremental and optimizer is not None:
            state.optimizer, state.learning_rate, state.updates = optimizer
        return state

    def _run(
        self,
        settings: FitSettings,
        samples: Samples,
        state: FitState,
        random: np.random.RandomState,
        world: World,
        after_epoch: list[Callable[[FitState], None]],
    ) -> None:
        """Fit on this rank, together with the other ranks of `world`."""
        try:
            for _ in fit(settings, samples, state, random, world):
                for function in after_epoch:
                    function(state)
        except KeyboardInterrupt:
            if world.size > 1:  # the other ranks are in the middle of a step
                raise
            state.end = "stopped"

    def _set_fitted(self, state: FitState, incremental: bool) -> None:
        """Set the attributes of the estimator from the end of a fit. Raise or warn if the fit did not succeed."""
        self.__dict__.update(attributes_of(state))
        if failed(state):
            raise ValueError(NOT_FINITE)
        warn_of_end(state, self, incremental)

    # predictions, which need no other rank

    def _outputs(self, X: Any) -> Array:
        """Return the outputs of the network, shape (n, outputs)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        return outputs_of(*self._network(), X)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted network to `path`, for `nnmpi.load` and the commands; it takes the same features as `fit`.

        Raises
        ------
        ValueError
            If a model file cannot hold it.
        """
        check_is_fitted(self)
        write_model(Path(path), model_of(*self._network(), getattr(self, "classes_", None)), sync=True)

    def _network(self) -> tuple[Architecture, Array]:
        """Return the architecture of the fitted network, and its parameters in one vector."""
        hidden = [layer.shape[1] for layer in self.coefs_[:-1]]
        dtype = self.coefs_[0].dtype.name
        architecture = self._architecture(self.coefs_[0].shape[0], hidden, self.n_outputs_, dtype)
        return architecture, packed(architecture, self.coefs_, self.intercepts_)
