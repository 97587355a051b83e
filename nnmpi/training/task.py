"""From the settings to what a rank works on: the samples of its shards, and the shape of the network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.config import Config, shown
from nnmpi.data.augment import Augmentation
from nnmpi.data.held import HeldRows
from nnmpi.data.parts import Part, Parts, split
from nnmpi.data.scaler import Scaler, fit_scaler
from nnmpi.data.shards import Layout, default_shards, held_shards
from nnmpi.data.sources import Columns, Source, open_source
from nnmpi.data.table import Preparation, fit_encoding
from nnmpi.data.targets import Targets, targets_of
from nnmpi.errors import InputError
from nnmpi.memory import check_memory
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.losses import LOSSES
from nnmpi.training.agreement import check_same_data
from nnmpi.training.evaluation import CHUNK
from nnmpi.training.gather_targets import gather_targets
from nnmpi.training.samples import Samples


@dataclass(frozen=True)
class Task:
    """What a rank trains on, and what for.

    The parts hold the samples of the shards in ``held``, features and numeric targets standardized; images of the
    training part that augmentation moves are left as they are stored. ``target_reason`` says which targets there are
    and why.
    """

    source: Source
    targets: Targets
    architecture: Architecture
    layout: Layout
    held: range
    training: Part
    validation: Part | None
    test: Part
    scaler: Preparation
    target_scaler: Scaler | None
    augmentation: Augmentation | None
    samples: dict[str, int]
    data_digest: str
    target_reason: str


def prepare(config: Config, world: World, shards: int | None, source: Source | None = None) -> Task:
    """Open the source, split it and read this rank's part of its `shards`; all ranks take part.

    Raises
    ------
    InputError
        On all ranks, if the settings do not go with the data or the world size.
    """
    with world.together():
        source = source or open_source(config.data, columns=Columns(config.target, config.drop, config.categories))
    check_same_data(source, world)
    source = gather_targets(source, world)
    with world.together():
        targets, loss, output_activation, reason = _targets(config, source)
        validation_fraction = config.validation_fraction if config.early_stopping else 0.0
        parts = split(source, config.test_fraction, validation_fraction, config.seed, config.stratify)
        layout = _layout(config, source, targets, parts, shards or default_shards(world.size), world.size)
        held = held_shards(layout.shards, world.size, world.rank)
        augmentation = _augmentation(config, source, source.features)
        moves = augmentation is not None and augmentation.moves
        # the training part comes last, where it may stay as it is stored
        rows = HeldRows(source, (parts.test, parts.validation, parts.training), layout.shards, held, config.dtype)
        samples = Samples(rows, targets)

    def features() -> Iterator[npt.NDArray[Any]]:
        for shard, (x, _, _) in zip(held, samples.shards(2), strict=True):
            yield augmentation.moved_once(x, shard) if augmentation else x

    scaler: Preparation
    if source.columns is None:
        scaler = fit_scaler(features, world.gather_rows)
    else:
        rows_of_shards = lambda: (x for x, _, _ in samples.shards(2))  # noqa: E731
        gather = world.gather_rows, world.gather_bytes
        scaler = fit_encoding(source.name, source.columns, source.texts, rows_of_shards, *gather)
        augmentation = _augmentation(config, source, len(scaler.mean))
    target_scaler = None
    if targets.classes is None:
        target_scaler = fit_scaler(lambda: (y for _, y, _ in samples.shards(2)), world.gather_rows)
    data_digest = samples.digest(world)
    with world.together():
        architecture = _architecture(config, source, len(scaler.mean), targets, loss, output_activation)
        test, validation, training = samples.parts(scaler, target_scaler, architecture.dtype, keep_last=moves)
    return Task(
        source,
        targets,
        architecture,
        layout,
        held,
        training,
        validation if len(parts.validation) else None,
        test,
        scaler,
        target_scaler,
        augmentation,
        {name: len(rows) for name, rows in vars(parts).items()},
        data_digest,
        reason,
    )


def _augmentation(config: Config, source: Source, features: int) -> Augmentation | None:
    return Augmentation(config.augment, features, source.image, config.seed) if config.augment else None


def _targets(config: Config, source: Source) -> tuple[Targets, str, str, str]:
    """The targets, the loss and the output activation that the settings make of the source, and why they are so."""
    targets, loss, reason = targets_of(source, config.loss, config.task)
    if config.stratify and targets.classes is None:
        raise InputError(
            f"--stratify keeps the shares of classes, but y of --data {source.name} holds numbers: leave it out"
            + (", or give --task classification" if targets.outputs == 1 else "")
        )
    output_activation = config.output_activation
    if output_activation == "auto":
        output_activation = next(iter(LOSSES[loss]))
    if output_activation not in LOSSES[loss]:
        raise InputError(
            f"--output-activation {output_activation} does not go with the loss {loss} of --data {source.name}; "
            f"allowed are auto, {', '.join(LOSSES[loss])}"
        )
    if targets.classes is None and output_activation != "identity":
        raise InputError(
            f"--output-activation {output_activation} is for classes, but y of --data {source.name} holds numbers; "
            "allowed are auto, identity"
        )
    if {"shift", "rotate"} & set(config.augment) and source.image is None:
        raise InputError(
            f"--augment {','.join(config.augment)} moves images, but the samples of --data {source.name} are none; "
            "allowed are none, noise"
        )
    return targets, loss, output_activation, reason


def _architecture(
    config: Config, source: Source, features: int, targets: Targets, loss: str, output_activation: str
) -> Architecture:
    sizes = (features, *config.hidden, targets.outputs)
    architecture = Architecture(sizes, config.activation, output_activation, loss, config.dtype)
    numbers = 3 * architecture.parameters + 2 * CHUNK * sum(sizes)  # at the least: gradient, optimizer, layers' outputs
    check_memory(
        numbers * np.dtype(config.dtype).itemsize,
        f"--hidden {shown(config.hidden)} for --data {source.name}",
    )
    return architecture


def _layout(config: Config, source: Source, targets: Targets, parts: Parts, shards: int, world_size: int) -> Layout:
    rows, y = parts.training, source.y
    if targets.classes is not None and y is not None and (y[rows] == y[rows[0]]).all():
        raise InputError(
            f"--data {source.name}: the training part has samples of one class only; lower --test-fraction, "
            "or use --stratify"
        )
    batch_size = len(rows) if config.batch_size == "full" else min(config.batch_size, len(rows))
    if world_size > shards:
        raise InputError(
            f"{world_size} ranks for --shards {shards}: each rank needs a shard of its own; raise --shards to "
            f"{world_size} or more, or start at most {shards} ranks"
        )
    if shards > batch_size:
        raise InputError(
            f"a batch of {batch_size} samples is too small for {shards} shards: lower --shards to {batch_size} or less"
            + (f", or raise --batch-size to {shards} or more" if len(rows) >= shards else "")
        )
    return Layout(len(rows), shards, batch_size)


def suggested_shards(shards: int, world_size: int) -> int | None:
    """A number of shards that gives each rank the same, if the present one costs over 10 % of a step."""
    most = -(-shards // world_size)
    return most * world_size if most * world_size > 1.1 * shards else None
