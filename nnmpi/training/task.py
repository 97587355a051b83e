"""From the settings to the task of a rank: the samples of its shards, and the architecture of the network."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from nnmpi.arrays import Array, Floats
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
from nnmpi.nn.predict import CHUNK
from nnmpi.setting import flag_value
from nnmpi.training.agreement import check_same_data
from nnmpi.training.class_weights import class_weights
from nnmpi.training.gather_targets import gather_targets
from nnmpi.training.samples import HeldSamples, read_samples
from nnmpi.training.separate_sources import naming_flag_of, open_separate_sources

FEW_SHARDS = 64  # allowed for any number of samples; some of them may be empty


@dataclass(frozen=True)
class Task:
    """The samples that a rank trains on, and the network to train.

    The parts hold the samples of the shards in ``held``. Features and numeric targets are standardized; only training
    images that augmentation moves stay as stored. ``samples`` is the size of each part over all ranks.
    ``target_reason`` says which targets the network learns and why. ``class_weights`` are the weights of the classes in
    the loss, by class code. ``digests`` are those of ``--test-data`` and ``--validation-data``, by part.
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
    class_weights: Floats | None = None
    digests: dict[str, str] = field(default_factory=dict)


def prepare(config: Config, world: World, shards: int | None, source: Source | None = None) -> Task:
    """Open the source, split it and read the samples of this rank's shards. All ranks take part.

    `shards` is the number of shards that the training set is split into; None takes the default.

    Raises
    ------
    InputError
        On all ranks, if the settings do not fit the data or the world size.
    """
    with world.together():
        columns = Columns(config.target, config.drop, config.categories, config.sample_weight)
        source = source or open_source(config.data, columns=columns)
    check_same_data(source, world)
    source = gather_targets(source, world)
    separate_sources = open_separate_sources(config, source, world)
    with world.together():
        targets, loss, output_activation, reason = _targets(config, source)
        test_fraction = 0.0 if config.test_data else config.test_fraction
        parts = split(source, test_fraction, config.validation_fraction or 0.0, config.seed, config.stratify)
        layout = _layout(config, source, targets, parts, shards or default_shards(world.size), world.size)
        held = held_shards(layout.shards, world.size, world.rank)
        augmentation = _augmentation(config, source, source.features)
        moves = augmentation is not None and augmentation.moves
    sizes = {name: len(part) for name, part in vars(parts).items()}
    # the training part comes last: `HeldSamples.parts` can keep the last one as stored
    ordered_parts = parts.test, parts.validation, parts.training
    samples = read_samples(source, ordered_parts, layout.shards, config.dtype, targets, world)
    del parts, ordered_parts  # the row numbers of a large source take much memory
    separate_samples: dict[str, HeldSamples] = {}
    for name, other in separate_sources.items():
        with naming_flag_of(name):
            rows = [np.arange(other.size)]
            separate_samples[name] = read_samples(other, rows, layout.shards, config.dtype, targets, world)

    def features() -> Iterator[Array]:
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
    digests = {name: other_samples.digest(world) for name, other_samples in separate_samples.items()}
    with world.together():
        architecture = _architecture(config, source, len(scaler.mean), targets, loss, output_activation)
        test, validation, training = samples.parts(scaler, target_scaler, architecture.dtype, keep_last=moves)
        separate_parts: dict[str, Part] = {}
        for name, other_samples in separate_samples.items():
            with naming_flag_of(name):
                separate_parts[name] = other_samples.parts(scaler, target_scaler, architecture.dtype)[0]
    test, validation = separate_parts.get("test", test), separate_parts.get("validation", validation)
    weights = class_weights(config.class_weight, targets, training.y, world)
    weighted_parts = {"training": training, "validation": validation, "test": test}
    _check_weights(weighted_parts, weights, set(separate_sources), world)
    sizes |= {name: other.size for name, other in separate_sources.items()}
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
        weights,
        digests,
    )


def _check_weights(parts: dict[str, Part], weights_of_classes: Floats | None, separate: set[str], world: World) -> None:
    """Refuse a part whose samples all have weight 0; the `separate` parts have own data. All ranks take part."""
    for name, part in parts.items():
        weights = part.loss_weights(weights_of_classes)
        if weights is not None:
            weights = weights.astype(part.x.dtype)  # as the loss takes them: some may vanish beside the largest
            count, total = world.gather_rows(np.array([[len(weights), np.count_nonzero(weights)]])).sum(axis=0)
            if count and not total:
                remedy = (
                    f"give --{name}-data with other samples"
                    if name in separate
                    else "draw other parts with --seed or --test-fraction"
                )
                raise InputError(
                    f"all samples of the {name} part have weight 0 in the loss: their own weights, or those of their "
                    f"classes (--class-weight), are 0 or tiny beside the largest; change them, or {remedy}",
                    shared=True,
                )


def _augmentation(config: Config, source: Source, features: int) -> Augmentation | None:
    return Augmentation(config.augment, features, source.image, config.seed) if config.augment else None


def _targets(config: Config, source: Source) -> tuple[Targets, str, str, str]:
    """Return the targets, the loss, the output activation, and the reason for these targets in one line."""
    targets, loss, reason = targets_of(source, config.loss, config.task)
    if config.stratify and targets.task != "classification":
        content = "numbers" if targets.task == "regression" else "multilabel targets"
        raise InputError(
            f"--stratify keeps the shares of classes, but y of --data {source.name} holds {content}: leave it out"
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
            f"--augment {','.join(config.augment)} moves images, but the samples of --data {source.name} are not "
            "images; allowed are none, noise"
        )
    return targets, loss, output_activation, reason


def _architecture(
    config: Config, source: Source, features: int, targets: Targets, loss: str, output_activation: str
) -> Architecture:
    sizes = (features, *config.hidden, targets.outputs)
    architecture = Architecture(sizes, config.activation, output_activation, loss, config.dtype)
    # at least: parameters, gradient, optimizer state, and the outputs of the layers
    numbers = 3 * architecture.parameters + 2 * CHUNK * sum(sizes)
    check_memory(
        numbers * np.dtype(config.dtype).itemsize,
        f"--hidden {flag_value(config.hidden)} for --data {source.name}",
    )
    return architecture


def _layout(config: Config, source: Source, targets: Targets, parts: Parts, shards: int, world_size: int) -> Layout:
    rows, y = parts.training, source.y
    if targets.task == "classification" and y is not None and (y[rows] == y[rows[0]]).all():
        fractions = {"--test-fraction": not config.test_data, "--validation-fraction": config.validation_fraction}
        lower = " or ".join(flag for flag, is_used in fractions.items() if is_used)
        raise InputError(
            f"--data {source.name}: the training part has samples of one class only; lower {lower}, or use --stratify"
        )
    batch_size = len(rows) if config.batch_size == "full" else min(config.batch_size, len(rows))
    if world_size > shards:
        raise InputError(
            f"{world_size} ranks for --shards {shards}: each rank needs a shard of its own; raise --shards to "
            f"{world_size} or more, or start at most {shards} ranks"
        )
    most = max(len(rows), FEW_SHARDS, default_shards(world_size))
    if shards > most:
        raise InputError(f"--shards {shards} for {len(rows)} training samples; allowed are up to {most}")
    layout = Layout(len(rows), shards, batch_size)
    check_memory(8 * layout.steps * shards, f"--shards {shards} with --batch-size {batch_size}")
    return layout


def suggested_shards(shards: int, world_size: int) -> int | None:
    """Return a number of shards that gives all ranks equally many, if the imbalance costs over 10 % of a step."""
    most = -(-shards // world_size)
    return most * world_size if most * world_size > 1.1 * shards else None
