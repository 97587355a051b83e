"""From the settings to what a rank works on: the samples of its shards, and the shape of the network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nnmpi.config import Config, shown
from nnmpi.data.augment import Augmentation
from nnmpi.data.parts import Array, Part, Parts, load_part, split
from nnmpi.data.scaler import Scaler, fit_scaler
from nnmpi.data.shards import Layout, default_shards, held_shards
from nnmpi.data.sources import Source, open_source
from nnmpi.data.targets import Targets, targets_of
from nnmpi.environment import check_memory
from nnmpi.errors import InputError
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.losses import LOSSES
from nnmpi.training.evaluation import CHUNK


@dataclass(frozen=True)
class Task:
    """What a rank trains on, and what for.

    The parts hold the samples of the shards in ``held``, features and numeric targets standardized; only with
    augmentation are those of the training part left as they came.
    """

    source: Source
    targets: Targets
    architecture: Architecture
    layout: Layout
    held: range
    training: Part
    validation: Part | None
    test: Part
    scaler: Scaler
    target_scaler: Scaler | None
    augmentation: Augmentation | None
    samples: dict[str, int]


def prepare(config: Config, world: World, shards: int | None, source: Source | None = None) -> Task:
    """Open the source, split it and read this rank's part of its `shards`; all ranks take part.

    Raises
    ------
    InputError
        On all ranks, if the settings do not go with the data or the world size.
    """
    with world.together():
        source = source or open_source(config.data)
        targets, architecture = _shape(config, source)
        validation_fraction = config.validation_fraction if config.early_stopping else 0.0
        parts = split(source, config.test_fraction, validation_fraction, config.seed, config.stratify)
        layout = _layout(config, source, parts, shards or default_shards(world.size), world.size)
        held = held_shards(layout.shards, world.size, world.rank)
        training, validation, test = (
            load_part(source, rows, layout.shards, held, targets, config.dtype)
            for rows in (parts.training, parts.validation, parts.test)
        )
    augmentation = Augmentation(config.augment, source.features, source.image, config.seed) if config.augment else None

    def features() -> Iterator[Array]:
        for shard, samples in zip(held, training.shards(), strict=True):
            x = training.x[samples, 1:]
            yield augmentation.moved_once(x, shard) if augmentation else x

    scaler = fit_scaler(features, world)
    target_scaler = None
    if targets.classes is None:
        target_scaler = fit_scaler(lambda: [training.y[samples] for samples in training.shards()], world)
    for name, fitted in (("X", scaler), ("y", target_scaler)):
        if fitted and not (np.isfinite(fitted.mean).all() and np.isfinite(fitted.scale).all()):
            raise InputError(
                f"--data {source.name}: {name} holds numbers so large that their squares overflow; make them smaller",
                shared=True,
            )
    for part in (training, validation, test):
        if part is not training or not config.augment:
            scaler.transform(part.x[:, 1:])
        if target_scaler:
            target_scaler.transform(part.y)
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
    )


def _shape(config: Config, source: Source) -> tuple[Targets, Architecture]:
    targets, loss = targets_of(source, config.loss)
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
    sizes = (source.features, *config.hidden, targets.outputs)
    architecture = Architecture(sizes, config.activation, output_activation, loss, config.dtype)
    numbers = 3 * architecture.parameters + 2 * CHUNK * sum(sizes)  # at the least: gradient, optimizer, layers' outputs
    check_memory(
        numbers * np.dtype(config.dtype).itemsize,
        f"--hidden {shown(config.hidden)} for --data {source.name}",
    )
    return targets, architecture


def _layout(config: Config, source: Source, parts: Parts, shards: int, world_size: int) -> Layout:
    rows = parts.training
    if source.y is not None and source.y.dtype.kind != "f" and (source.y[rows] == source.y[rows[0]]).all():
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
