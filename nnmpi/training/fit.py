"""The fit of an estimator on all ranks: nnmpi's steps, with scikit-learn's rules for batches, loss and stopping."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from nnmpi.arrays import Array, Indices
from nnmpi.data.batches import Batches
from nnmpi.data.parts import Part
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.scaler import Scaler
from nnmpi.data.shards import Layout, default_shards, held_shards
from nnmpi.data.targets import Targets
from nnmpi.errors import RunError
from nnmpi.files.checkpoint import Progress
from nnmpi.mpi.checks import training_threads
from nnmpi.mpi.world import World
from nnmpi.nn.network import Bound, Network
from nnmpi.nn.optimizers import SGD, Adam
from nnmpi.reduction.choose import choose_for
from nnmpi.reduction.step_vector import Sums
from nnmpi.training.events import Requests
from nnmpi.training.fit_state import FitSettings, FitState, Samples
from nnmpi.training.fit_validation import Validation
from nnmpi.training.loop import steps


class FitProgress(Progress):
    """`Progress` with scikit-learn's loss: the mean over the batches, weighted by size, with the L2 penalty."""

    penalty: float = 0.0  # ½α‖W‖² before the step

    def advance(self, loss_sum: float, weight_sum: float, samples: int) -> None:
        """Count a finished step."""
        super().advance((loss_sum + self.penalty) / (weight_sum or 1.0) * samples, samples, samples)


class FitSession:
    """The session that `steps` needs for a fit on this rank. All ranks of `world` construct one together."""

    def __init__(
        self, settings: FitSettings, samples: Samples, state: FitState, random: np.random.RandomState, world: World
    ) -> None:
        self.config, self.world, self.state, self.samples = settings, world, state, samples
        self.requests = Requests()
        self.progress = FitProgress(update=state.updates)
        self.parameters, architecture = state.parameters, state.architecture
        count = len(samples.training)
        count = count if samples.shared else world.sum_exactly(count)
        shards = default_shards(world.size)
        self.layout = Layout(count, shards, min(settings.batch_size, count))
        held = held_shards(shards, world.size, world.rank)
        self.reduction = choose_for(architecture, world, shards, held, settings.deterministic)
        self.sums = Sums(self.reduction, architecture)
        self.optimizer = _optimizer(settings, state)
        by_shard = self.reduction.by_shard
        self.network = Network(
            architecture,
            self.parameters,
            max_block=self.layout.largest_microbatch * (1 if by_shard else len(held)),
            max_blocks=len(self.reduction.blocks),
            dropout=settings.dropout,
        )
        self.weights = [layer[1:].reshape(-1) for layer in architecture.views(self.parameters)]
        self.targets = Targets("one-hot" if samples.y.ndim == 1 else "numbers", None, architecture.sizes[-1])
        x: Array = np.empty((0, 1 + architecture.sizes[0]), architecture.dtype)
        part = Part(x, samples.y, [], np.arange(0), stored=samples.x, weights=samples.weights)
        self.batches = Batches(
            part,
            self.layout,
            held,
            self.targets,
            settings.seed,
            None,
            Scaler(np.zeros(0), np.ones(0)),
            by_shard,
            self._bind,
            samples.weights,
            _scikit_learns_order(settings, samples, random) if samples.shared else None,
        )
        self._dropout = stream(settings.seed, Purpose.DROPOUT)

    def _bind(self, inputs: list[Array], targets: list[Array], weights: list[Array] | None = None) -> Bound:
        destinations, ready = self.sums.destinations, self.reduction.ready
        return self.network.bind(inputs, targets, destinations, ready, training=True, weights=weights)

    def learning_rate(self, k: int) -> float:
        """Return the learning rate; it changes only between epochs."""
        return self.state.learning_rate

    def start_epoch(self) -> None:
        """Draw the order of the current epoch."""
        self.batches.start(self.progress.epoch)

    def draw_dropout(self, step: int, batch: Bound) -> None:
        """Draw the hidden outputs that each sample of a step keeps."""
        self.network.resize(batch.sizes)
        for shard, block, columns in self.batches.columns(step):
            key = self.progress.update, 0, shard
            self._dropout = stream(self.config.seed, Purpose.DROPOUT, *key, reuse=self._dropout)
            self.network.draw_dropout(block, columns, self._dropout)

    def checkpoint_is_due(self) -> bool:
        """Return False: a fit writes no checkpoints."""
        return False

    def add_l2(self, weight: float) -> None:
        """Add ``αW`` to the sum gradient of a batch, whatever its `weight`, and note the penalty."""
        self.progress.penalty = self.config.l2 / 2 * sum([float(np.dot(w, w)) for w in self.weights])
        self.network.add_l2(self.sums.layers, self.config.l2)

    def diverged(self, step: int) -> RunError:
        """Return the error that ends the steps if the loss is NaN or infinite; the same on all ranks."""
        return RunError("the loss is no longer finite", shared=True)


def _optimizer(settings: FitSettings, state: FitState) -> SGD | Adam:
    """Return the optimizer. It updates the arrays of `state` in place."""
    optimizer: SGD | Adam
    if settings.solver == "sgd":
        optimizer = SGD(state.parameters, settings.momentum, settings.nesterovs_momentum)
    else:
        betas = settings.beta_1, settings.beta_2
        optimizer = Adam(state.parameters, *betas, settings.epsilon, correct_epsilon=False)
    if state.optimizer.size == optimizer.state.size:
        np.copyto(optimizer.state, state.optimizer)
    state.optimizer = optimizer.state
    return optimizer


def _scikit_learns_order(
    settings: FitSettings, samples: Samples, random: np.random.RandomState
) -> Callable[[int], Indices]:
    """Return a function that draws the order of an epoch as scikit-learn does; the same on all ranks.

    The generators `random` of all ranks are in the same state.
    """
    order = np.arange(len(samples.training))

    def draw(epoch: int) -> Indices:
        nonlocal order
        if settings.shuffle:
            indices = np.arange(len(order))
            random.shuffle(indices)
            order = order[indices]
        return samples.training[order]

    return draw


def limited_threads(deterministic: bool, world: World) -> AbstractContextManager[Any]:
    """Limit the threads of BLAS: one if `deterministic`, else a share of the host; no limit for a single rank."""
    if world.size == 1 and not deterministic:
        return nullcontext()
    threads: AbstractContextManager[Any] = threadpool_limits(training_threads(world, deterministic), user_api="blas")
    return threads


def fit(
    settings: FitSettings,
    samples: Samples,
    state: FitState,
    random: np.random.RandomState,
    world: World,
    requests: Requests | None = None,
) -> Iterator[FitState]:
    """Fit up to ``max_iter`` epochs, and yield `state`, the same on all ranks, after each. All ranks take part.

    The fit ends early if the loss, or the validation score if there are validation rows, has not improved by ``tol``
    for more than ``n_iter_no_change`` epochs; if `requests` on any rank ask for a stop; and if the loss is NaN or
    infinite. With the "adaptive" learning rate, lack of improvement first divides the rate by 5, down to 1e-6.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        session = FitSession(settings, samples, state, random, world)
        session.requests = requests or session.requests
        validation = None
        if samples.validation is not None:
            validation = Validation(samples, state.architecture, state.parameters, world)
        progress = session.progress
        state.n_iter, state.end = 0, ""
        while state.n_iter < settings.max_iter:
            session.start_epoch()
            try:
                if any(due.stopping for due in steps(session)):
                    state.end = "stopped"
                    return
            except RunError:
                state.end = "diverged"
            state.n_iter += 1
            state.updates = progress.update
            state.samples_seen += session.layout.samples
            diverged = state.end == "diverged"
            state.loss_curve.append(np.nan if diverged else progress.loss_sum / progress.weight_sum)
            if validation:
                state.validation_scores.append(np.nan if diverged else validation.score())
            _note_improvement(state, settings.tol, validation is not None)
            progress.finish_epoch()
            if settings.solver == "sgd" and settings.learning_rate == "invscaling":
                state.learning_rate = settings.learning_rate_init / (state.samples_seen + 1) ** settings.power_t
            if state.no_improvement > settings.n_iter_no_change and not diverged:
                if settings.solver == "sgd" and settings.learning_rate == "adaptive" and state.learning_rate > 1e-6:
                    state.learning_rate /= 5
                    state.no_improvement = 0
                else:
                    state.end = "converged"
            yield state
            if state.end:
                return


def _note_improvement(state: FitState, tol: float, by_score: bool) -> None:
    """Count the epochs without improvement; with validation scores, keep the parameters of the best one."""
    if by_score:
        score = state.validation_scores[-1]
        state.no_improvement = state.no_improvement + 1 if score < state.best_score + tol else 0
        if score > state.best_score:
            state.best_score, state.best = score, state.parameters.copy()
        return
    loss = state.loss_curve[-1]
    state.no_improvement = state.no_improvement + 1 if loss > state.best_loss - tol else 0
    if loss < state.best_loss:
        state.best_loss = loss
