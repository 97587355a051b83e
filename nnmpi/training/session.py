"""All that one training needs on one rank, made from settings, a source and a world."""

import time
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.config import Config
from nnmpi.data.batches import Batches
from nnmpi.data.parts import Part
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.shards import default_shards
from nnmpi.data.sources import Source
from nnmpi.errors import CommandError, InputError
from nnmpi.files.checkpoint import Checkpoint, Progress
from nnmpi.files.model import Model, Recipe
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import glorot_uniform
from nnmpi.nn.network import Bound, Network
from nnmpi.nn.optimizers import OPTIMIZERS
from nnmpi.nn.predict import CHUNK
from nnmpi.nn.schedules import Schedule
from nnmpi.reduction.choose import choose
from nnmpi.reduction.step_vector import Sums
from nnmpi.setting import parse_interval
from nnmpi.training.divergence import diverged
from nnmpi.training.evaluation import Scores, evaluate
from nnmpi.training.events import Requests
from nnmpi.training.metrics import larger_is_better, score
from nnmpi.training.resume import check_data, restore, scaler_arrays
from nnmpi.training.run_description import describe
from nnmpi.training.scoring import all_scores, metrics_of, predict_part
from nnmpi.training.task import prepare


class Session:
    """The data, the network and the state of one training on this rank. All ranks of `world` construct one together.

    Parameters
    ----------
    config
        The settings.
    world
        The ranks that train.
    source
        The source of the samples; None opens ``config.data``.
    resumed
        The state to resume from: a checkpoint from the disk, or the state of survivors.
    requests
        Requests for a stop or a checkpoint, which the caller sets.

    Attributes
    ----------
    task, layout
        The samples that this rank holds, and the division of an epoch into steps.
    parameters : array
        This rank's replica, flat.
    progress : Progress
        The epoch and the step that training has reached.
    writes_model : bool
        Whether the caller writes the model to a file; the error of a loss that is not finite says which one is there.

    Raises
    ------
    InputError
        On all ranks, if the settings do not fit the data or the world, or `resumed` comes from other data.
    """

    def __init__(
        self,
        config: Config,
        world: World,
        source: Source | None = None,
        resumed: Checkpoint | None = None,
        requests: Requests | None = None,
    ) -> None:
        self.config, self.world = config, world
        self.requests = requests or Requests()
        self.writes_model = False
        shards = resumed.metadata["shards"] if resumed else config.shards or default_shards(world.initial_size)
        self.task = task = prepare(config, world, shards, source)
        self.layout, architecture = task.layout, task.architecture
        self.progress = Progress()
        self.monitor = config.monitor.removeprefix("validation_")
        if self.monitor not in ("loss", *metrics_of(task.targets)):
            raise InputError(
                f"--monitor {config.monitor} does not go with the targets of --data {task.source.name}; allowed are "
                f"validation_ followed by one of loss, {', '.join(metrics_of(task.targets))}",
                shared=True,
            )
        self.description = describe(config, task, world)
        if resumed:
            check_data(resumed, task)
            self.progress = resumed.progress
        world.position.epoch_and_step = lambda: (self.progress.epoch, self.progress.step)

        self.parameters = glorot_uniform(architecture, stream(config.seed, Purpose.PARAMETERS))
        self.reduction = choose(config, world, self.layout.shards, task.held, architecture)
        self.sums = Sums(self.reduction, architecture)
        self.optimizer = OPTIMIZERS[config.optimizer](self.parameters, config.momentum, config.nesterov)
        self.description["reduction"] = self.reduction.name
        self._best = self.parameters.copy() if config.early_stopping else self.parameters[:0]
        self._state = {"parameters": self.parameters, "optimizer": self.optimizer.state, "best": self._best}
        if resumed:
            restore(resumed, self._state)
        self._state |= scaler_arrays(task)
        self.replicas = {f"layers.{i}": view for i, view in enumerate(architecture.views(self.parameters))}
        self.replicas["the optimizer's state"] = self.optimizer.state

        by_shard = self.reduction.by_shard
        self.network = Network(
            architecture,
            self.parameters,
            max_block=self.layout.largest_microbatch * (1 if by_shard else len(task.held)),
            max_blocks=len(self.reduction.blocks),
            dropout=config.dropout,
        )
        self.evaluator = Network(architecture, self.parameters, CHUNK)
        parts = task.training, self.layout, task.held, task.targets
        weights = task.training.loss_weights(task.class_weights)
        self.batches = Batches(*parts, config.seed, task.augmentation, task.scaler, by_shard, self._bind, weights)
        self.learning_rate = Schedule(
            config.lr_schedule,
            config.learning_rate,
            self.layout.steps,
            config.epochs,
            decay=config.lr_decay,
            step_epochs=config.lr_step_epochs,
            step_factor=config.lr_step_factor,
            warmup_epochs=config.warmup_epochs,
        )
        self._dropout = stream(config.seed, Purpose.DROPOUT)
        self._every, self._unit = parse_interval(config.checkpoint_every)
        self._epoch_began = time.perf_counter() - self.progress.seconds
        if task.validation and self.monitor != "loss" and not resumed:  # refuse an undefined metric before training
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                scores = self.evaluate(task.validation)
                if scores.bad_row is None:
                    self.monitored(task.validation, scores)

    def _bind(self, inputs: list[Array], targets: list[Array], weights: list[Array] | None = None) -> Bound:
        destinations, ready = self.sums.destinations, self.reduction.ready
        return self.network.bind(inputs, targets, destinations, ready, training=True, weights=weights)

    def start_epoch(self) -> None:
        """Draw the order of the current epoch, and start its clock."""
        self.batches.start(self.progress.epoch)
        self._epoch_began = time.perf_counter() - self.progress.seconds

    def note_seconds(self) -> None:
        """Update ``progress.seconds``, the training time of the unfinished epoch, if it has finished steps."""
        if self.progress.step:
            self.progress.seconds = time.perf_counter() - self._epoch_began

    def draw_dropout(self, step: int, batch: Bound) -> None:
        """Draw the hidden outputs that each sample of a step keeps."""
        self.network.resize(batch.sizes)
        for shard, block, columns in self.batches.columns(step):
            key = self.progress.epoch, step, shard
            self._dropout = stream(self.config.seed, Purpose.DROPOUT, *key, reuse=self._dropout)
            self.network.draw_dropout(block, columns, self._dropout)

    def checkpoint_is_due(self, epoch: bool = False) -> bool:
        """Return whether ``--checkpoint-every`` asks for a checkpoint after this step, or with `epoch` this epoch."""
        if epoch:
            return self._unit == "epochs" and self.progress.epoch % self._every == 0
        return self._unit == "steps" and self.progress.update % self._every == 0

    def checkpoint(self, finished: bool = False) -> Checkpoint:
        """Return a checkpoint of the live arrays and progress; it holds no copies."""
        names = ["settings", "samples", "shards", "bits", "class_weights", "data_digest"]
        names += [f"{part}_digest" for part in self.task.digests]
        metadata = {name: self.description[name] for name in names}
        return Checkpoint(self.progress, self._state, {**metadata, "finished": finished})

    def model(self) -> Model:
        """Return the present network as a model, with all that is needed to use it."""
        config, task = self.config, self.task
        recipe = Recipe(
            config.data,
            config.test_fraction,
            config.seed,
            config.stratify,
            task.data_digest,
            task.source.target,
            sample_weight=config.sample_weight,
            validation_fraction=float(config.validation_fraction or 0),
            test_data=config.test_data,
            test_digest=task.digests.get("test"),
            validation_data=config.validation_data,
            first_index=task.source.first_index,
        )
        scalers = task.scaler, task.target_scaler
        return Model(task.architecture, self.parameters, *scalers, task.targets, recipe, task.class_weights)

    def add_l2(self, weight: float) -> None:
        """Add ``λW`` to the sum gradient of a step, times `weight`, the total weight of its samples."""
        self.network.add_l2(self.sums.layers, self.config.l2 * weight)

    def diverged(self, step: int) -> CommandError:
        """Return the error that ends a run whose loss became NaN or infinite in a step. All ranks take part."""
        return diverged(self.config, self.task, self.world, self.progress, step, self.writes_model)

    def evaluate(self, part: Part) -> Scores:
        """Return the scores of the present network on a part. All ranks take part."""
        task = self.task
        return evaluate(self.evaluator, part, task.targets, self.world, task.target_scaler, task.class_weights)

    def all_scores(self, part: Part, scores: Scores) -> dict[str, Any]:
        """Return `scores` with all metrics of a part. All ranks take part."""
        return all_scores(scores, self.evaluator, part, self.task.targets, self.world, self.task.target_scaler)

    def monitored(self, part: Part, scores: Scores) -> float:
        """Return the value of the ``--monitor`` metric on the validation part. All ranks take part.

        Raises
        ------
        InputError
            On all ranks, if the metric is undefined.
        """
        task, name = self.task, self.monitor
        if name == "loss":
            return scores.loss
        value = score(name, predict_part(self.evaluator, part, task.targets, self.world, task.target_scaler))
        if value is None:
            raise InputError(
                f"--monitor validation_{name} is undefined on the validation part ({scores.samples} samples): use "
                "--monitor validation_loss, or a larger part if this one lacks classes",
                shared=True,
            )
        return value

    def stops_early(self) -> bool:
        """Return whether the monitored metric has not improved for ``--early-stopping`` epochs."""
        return 0 < self.config.early_stopping <= self.progress.epoch - self.progress.best_epoch

    def keep_if_best(self, value: float) -> bool:
        """Keep a copy of the parameters if `value`, the monitored metric, is the best so far; return whether it is."""
        progress, best = self.progress, self.progress.best_score
        if best is not None and (value <= best if larger_is_better(self.monitor) else value >= best):
            return False
        progress.best_score, progress.best_epoch = value, progress.epoch + 1
        np.copyto(self._best, self.parameters)
        return True

    def restore_best(self) -> None:
        """Restore the parameters of the best epoch; without early stopping there is none."""
        if 0 < self.progress.best_epoch < self.progress.epoch:
            np.copyto(self.parameters, self._best)
