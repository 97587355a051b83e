"""From the settings to what a rank works on: the samples of its shards, and the shape of the network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.config import Config
from nnmpi.data.augment import Augmentation
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
from nnmpi.setting import shown
from nnmpi.training.agreement import check_same_data
from nnmpi.training.class_weights import class_weights
from nnmpi.training.evaluation import CHUNK
from nnmpi.training.gather_targets import gather_targets
from nnmpi.training.samples import read_samples


@dataclass(frozen=True)
class Task:
    """What a rank trains on, and what for.

    The parts hold the samples of the shards in ``held``, features and numeric targets standardized; images of the
    training part that augmentation moves are left as they are stored. ``target_reason`` says which targets there are
    and why. ``class_weights`` are those in the loss, by class code. ``test_digest`` is that of ``--test-data``.
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
    class_weights: npt.NDArray[np.float64] | None = None
    test_digest: str | None = None


def prepare(config: Config, world: World, shards: int | None, source: Source | None = None) -> Task:
    """Open the source, split it and read this rank's part of its `shards`; all ranks take part.

    Raises
    ------
    InputError
        On all ranks, if the settings do not go with the data or the world size.
    """
    with world.together():
        chosen = Columns(config.target, config.drop, config.categories, config.sample_weight)
        source = source or open_source(config.data, columns=chosen)
    check_same_data(source, world)
    source = gather_targets(source, world)
    others = _open_others(config, source, world)
    with world.together():
        targets, loss, output_activation, reason = _targets(config, source)
        test_fraction = 0.0 if config.test_data else config.test_fraction
        parts = split(source, test_fraction, config.validation_fraction or 0.0, config.seed, config.stratify)
        layout = _layout(config, source, targets, parts, shards or default_shards(world.size), world.size)
        held = held_shards(layout.shards, world.size, world.rank)
        augmentation = _augmentation(config, source, source.features)
        moves = augmentation is not None and augmentation.moves
    sizes = {name: len(part) for name, part in vars(parts).items()}
    # the training part comes last, where it may stay as it is stored
    in_order = parts.test, parts.validation, parts.training
    samples = read_samples(source, in_order, layout.shards, config.dtype, targets, world)
    del parts, in_order  # of a large source they are much
    of_others = {
        name: read_samples(other, [np.arange(other.size)], layout.shards, config.dtype, targets, world)
        for name, other in others.items()
    }

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
    if targets.task == "regression":
        target_scaler = fit_scaler(lambda: (y for _, y, _ in samples.shards(2)), world.gather_rows)
    data_digest = samples.digest(world)
    digests = {name: other.digest(world) for name, other in of_others.items()}
    with world.together():
        architecture = _architecture(config, source, len(scaler.mean), targets, loss, output_activation)
        test, validation, training = samples.parts(scaler, target_scaler, architecture.dtype, keep_last=moves)
        own = {name: s.parts(scaler, target_scaler, architecture.dtype)[0] for name, s in of_others.items()}
    test, validation = own.get("test", test), own.get("validation", validation)
    of_classes = class_weights(config.class_weight, targets, training.y, world)
    _check_weights({"training": training, "validation": validation, "test": test}, of_classes, world)
    sizes |= {name: other.size for name, other in others.items()}
    return Task(
        source,
        targets,
        architecture,
        layout,
        held,
        training,
        validation if sizes["validation"] else None,
        test,
        scaler,
        target_scaler,
        augmentation,
        sizes,
        data_digest,
        reason,
        of_classes,
        digests.get("test"),
    )


def _open_others(config: Config, source: Source, world: World) -> dict[str, Source]:
    """The sources of the parts that do not come from ``--data``; all ranks take part."""
    others: dict[str, Source] = {}
    with world.together():
        for part, name in (("test", config.test_data), ("validation", config.validation_data)):
            if name is None:
                continue
            chosen = Columns(source.target, weight=config.sample_weight)
            other = open_source(name, columns=chosen, known=source.columns)
            if other.features != source.features:
                raise InputError(
                    f"--{part}-data {name} has {other.features} features, --data {source.name} has {source.features}; "
                    "both must be of the same kind"
                )
            if (other.weights is None) != (source.weights is None):
                which = name if other.weights is None else source.name
                raise InputError(
                    f"--{part}-data {name}: {which} has no sample weights; give both files weights, or none"
                )
            others[part] = other
    for other in others.values():
        check_same_data(other, world)
    return {part: gather_targets(other, world) for part, other in others.items()}


def _check_weights(parts: dict[str, Part], of_classes: npt.NDArray[np.float64] | None, world: World) -> None:
    """Refuse parts of which no sample counts; all ranks take part."""
    for name, part in parts.items():
        weights = part.loss_weights(of_classes)
        if weights is not None:
            weights = weights.astype(part.x.dtype)  # as the loss takes them: some may vanish beside the largest
            count, total = world.gather_rows(np.array([[len(weights), np.count_nonzero(weights)]])).sum(axis=0)
            if count and not total:
                raise InputError(f"all samples of the {name} part have weight 0", shared=True)


def _augmentation(config: Config, source: Source, features: int) -> Augmentation | None:
    return Augmentation(config.augment, features, source.image, config.seed) if config.augment else None


def _targets(config: Config, source: Source) -> tuple[Targets, str, str, str]:
    """The targets, the loss and the output activation that the settings make of the source, and why they are so."""
    targets, loss, reason = targets_of(source, config.loss, config.task)
    if config.stratify and targets.task != "classification":
        what = "numbers" if targets.task == "regression" else "labels of which a sample may have several"
        raise InputError(
            f"--stratify keeps the shares of classes, but y of --data {source.name} holds {what}: leave it out"
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
    if targets.task == "regression" and output_activation != "identity":
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
    if targets.task == "classification" and y is not None and (y[rows] == y[rows[0]]).all():
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
