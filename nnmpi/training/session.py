"""All that one training needs on one rank, made from settings, a source and a world."""

import time
from dataclasses import dataclass

import numpy as np

from nnmpi.config import Config, parse_interval
from nnmpi.data.batches import Batches
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.shards import default_shards
from nnmpi.data.sources import Source
from nnmpi.files.checkpoint import Checkpoint, Progress
from nnmpi.files.model import Model, Recipe
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import glorot_uniform
from nnmpi.nn.arrays import Array
from nnmpi.nn.network import Bound, Network
from nnmpi.nn.optimizers import OPTIMIZERS
from nnmpi.nn.schedules import Schedule
from nnmpi.reduction.choose import choose
from nnmpi.reduction.step_vector import Sums
from nnmpi.training.evaluation import CHUNK
from nnmpi.training.resume import check_data, restore, scaler_arrays
from nnmpi.training.run_description import describe
from nnmpi.training.task import Task, prepare


@dataclass
class Requests:
    """What a rank asks of all the others; set from outside, read in every step."""

    stop: bool = False
    checkpoint: bool = False


class Session:
    """The data, the network and the state of one training on this rank; all ranks of `world` make theirs together.

    Parameters
    ----------
    config
        The settings.
    world
        The ranks that train.
    source
        Where the samples come from; None opens ``config.data``.
    resumed
        What to go on from: a checkpoint, or what survivors hold.
    requests
        Where somebody outside asks for a stop or a checkpoint.
    task
        The samples, if the caller has prepared them; by default `prepare` makes it from `source`.

    Attributes
    ----------
    task, layout
        The samples that this rank holds, and how an epoch is cut into steps.
    parameters : array
        This rank's replica, flat.
    progress : Progress
        How far training has come.

    Raises
    ------
    InputError
        On all ranks, if the settings do not go with the data or the world, or `resumed` is of other data.
    """

    def __init__(
        self,
        config: Config,
        world: World,
        source: Source | None = None,
        resumed: Checkpoint | None = None,
        requests: Requests | None = None,
        task: Task | None = None,
    ) -> None:
        self.config, self.world = config, world
        self.requests = requests or Requests()
        shards = resumed.about["shards"] if resumed else config.shards or default_shards(world.started)
        self.task = task = task or prepare(config, world, shards, source)
        self.layout, architecture = task.layout, task.architecture
        self.progress = Progress()
        self.description = describe(config, task, world)
        if resumed:
            check_data(resumed, task)
            self.progress = resumed.progress
        world.here.epoch_and_step = lambda: (self.progress.epoch, self.progress.step)

        self.parameters = glorot_uniform(architecture, stream(config.seed, Purpose.PARAMETERS))
        self.reduction = choose(config, world, self.layout.shards, task.held, architecture)
        self.sums = Sums(self.reduction, architecture)
        self.optimizer = OPTIMIZERS[config.optimizer](self.parameters, config.momentum, config.nesterov)
        self.description["reduction"] = self.reduction.name
        self._best = self.parameters.copy() if task.validation else self.parameters[:0]
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
        self.batches = Batches(*parts, config.seed, task.augmentation, task.scaler, by_shard, self._bind)
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

    def _bind(self, inputs: list[Array], targets: list[Array], weights: list[Array] | None = None) -> Bound:
        destinations, ready = self.sums.destinations, self.reduction.ready
        return self.network.bind(inputs, targets, destinations, ready, training=True, weights=weights)

    def start_epoch(self) -> None:
        """Draw the order of the epoch that `progress` stands in, and start its clock."""
        self.batches.start(self.progress.epoch)
        self._epoch_began = time.perf_counter() - self.progress.seconds

    def note_seconds(self) -> None:
        """Note how long the unfinished epoch has taken; after an epoch's end there is none."""
        if self.progress.step:
            self.progress.seconds = time.perf_counter() - self._epoch_began

    def draw_dropout(self, step: int, batch: Bound) -> None:
        """Draw which hidden outputs each sample of a step keeps."""
        self.network.resize(batch.sizes)
        for shard, block, columns in self.batches.columns(step):
            where = self.progress.epoch, step, shard
            self._dropout = stream(self.config.seed, Purpose.DROPOUT, *where, reuse=self._dropout)
            self.network.draw_dropout(block, columns, self._dropout)

    def checkpoint_is_due(self, epoch: bool = False) -> bool:
        """Whether ``--checkpoint-every`` counts steps or epochs and asks for a checkpoint after this one."""
        if epoch:
            return self._unit == "epochs" and self.progress.epoch % self._every == 0
        return self._unit == "steps" and self.progress.update % self._every == 0

    def checkpoint(self, finished: bool = False) -> Checkpoint:
        """The live arrays and progress, as a checkpoint stores them."""
        about = {name: self.description[name] for name in ("settings", "samples", "shards", "bits", "data_digest")}
        return Checkpoint(self.progress, self._state, {**about, "finished": finished})

    def model(self) -> Model:
        """The network as it is now, with all that is needed to use it."""
        config, task = self.config, self.task
        recipe = Recipe(
            config.data, config.test_fraction, config.seed, config.stratify, task.data_digest, task.source.target
        )
        return Model(task.architecture, self.parameters, task.scaler, task.target_scaler, task.targets, recipe)

    def stops_early(self) -> bool:
        """Whether the validation loss has not improved for ``--early-stopping`` epochs."""
        patience, progress = self.config.early_stopping, self.progress
        return bool(patience) and progress.epoch - progress.best_epoch >= patience

    def keep_if_best(self, loss: float) -> bool:
        """Keep a copy of the parameters if their validation loss is the lowest so far, at the end of an epoch."""
        progress = self.progress
        if progress.best_loss is not None and loss >= progress.best_loss:
            return False
        progress.best_loss, progress.best_epoch = loss, progress.epoch + 1
        np.copyto(self._best, self.parameters)
        return True

    def restore_best(self) -> None:
        """Make the parameters those of the best epoch, where there is a validation part."""
        if self.task.validation and 0 < self.progress.best_epoch < self.progress.epoch:
            np.copyto(self.parameters, self._best)
