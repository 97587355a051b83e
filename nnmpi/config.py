"""The settings of a run: one frozen dataclass that checks itself. Its fields are the flags of ``train``."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from nnmpi.data.augment import AUGMENTATIONS
from nnmpi.data.sources import sources_text
from nnmpi.errors import InputError
from nnmpi.nn.activations import ACTIVATIONS
from nnmpi.nn.losses import LOSSES, OUTPUT_ACTIVATIONS
from nnmpi.nn.optimizers import OPTIMIZERS
from nnmpi.nn.schedules import SCHEDULES
from nnmpi.setting import (
    COLUMN_NAMES,
    are_different,
    converted,
    flag_of,
    flag_value,
    is_compression,
    is_interval,
    number,
    parse_batch_size,
    parse_columns,
    parse_names,
    parse_sizes,
    setting,
    whole,
)
from nnmpi.settings_together import complete_settings

LOGS = ("tensorboard", "mlflow")
DATA = "names of data sets and paths"


@dataclass(frozen=True)
class Config:
    """The settings of a training run.

    Raises
    ------
    InputError
        If a setting is out of bounds or cannot be combined with another.
    """

    data: str = setting("digits", f"Data to train on: {sources_text()}.", DATA)
    target: tuple[str, ...] = setting(
        (),
        "Column of a table to predict, or several columns of numbers; none takes the column named target, y, label or "
        "class.",
        COLUMN_NAMES,
        are_different,
        parse=parse_columns,
    )
    drop: tuple[str, ...] = setting(
        (), "Columns of a table to leave out.", COLUMN_NAMES, are_different, parse=parse_columns
    )
    categories: tuple[str, ...] = setting(
        (), "Columns of numbers in a table to treat as categories.", COLUMN_NAMES, are_different, parse=parse_columns
    )
    hidden: tuple[int, ...] = setting(
        (128, 64),
        "Sizes of the hidden layers, separated by commas, or none.",
        "whole numbers from 1, separated by commas",
        lambda v: all(n >= 1 for n in v),
        parse=parse_sizes,
    )
    activation: str = setting("relu", "Activation of the hidden layers.", choices=tuple(ACTIVATIONS))
    loss: str = setting(
        "auto",
        "Loss function; auto is cross-entropy for classes, binary-cross-entropy for labels and mse for numbers.",
        choices=("auto", *LOSSES),
    )
    task: str = setting(
        "auto",
        "Kind of targets; auto takes strings, booleans and repeated whole numbers (5 rows per class on average) as "
        "classes, several columns of 0 and 1 as labels (multilabel), and other targets as numbers.",
        choices=("auto", "classification", "multilabel", "regression"),
    )
    output_activation: str = setting(
        "auto",
        "Activation of the output layer; auto is the one that fits the loss.",
        choices=("auto", *OUTPUT_ACTIVATIONS),
    )
    epochs: int = setting(10, "Number of passes over the training set.", *whole(0), free=True)
    batch_size: int | Literal["full"] = setting(
        32,
        "Number of samples per step over all ranks; full is the whole training set (plain gradient descent).",
        "whole numbers from 1, or full",
        lambda v: v == "full" or v >= 1,
        parse=parse_batch_size,
    )
    optimizer: str = setting("sgd", "Optimizer that updates the parameters.", choices=tuple(OPTIMIZERS))
    learning_rate: float = setting(0.01, "Initial learning rate.", *number(0, open_low=True))
    momentum: float = setting(0.9, "Momentum of sgd; 0 is off.", *number(0, 1))
    nesterov: bool = setting(True, "Use Nesterov momentum in sgd.")
    lr_schedule: str = setting("inverse-time", "Schedule of the learning rate.", choices=tuple(SCHEDULES))
    lr_decay: float = setting(1e-6, "Schedule inverse-time: learning rate / (1 + decay · updates).", *number(0))
    lr_step_epochs: int = setting(10, "Schedule step: number of epochs between two drops.", *whole(1))
    lr_step_factor: float = setting(0.1, "Schedule step: factor of each drop.", *number(0, open_low=True))
    warmup_epochs: float = setting(
        0.0, "Number of epochs in which the learning rate rises to its full value; 0 is off.", *number(0)
    )
    l2: float = setting(0.0, "L2 regularization λ: adds λW to the gradient of the weights W; 0 is off.", *number(0))
    dropout: float = setting(0.0, "Fraction of hidden outputs set to zero in training; 0 is off.", *number(0, 1))
    augment: tuple[str, ...] = setting(
        (),
        "Random changes of the training samples, none or several separated by commas: "
        + "; ".join(f"{name} ({meaning})" for name, meaning in AUGMENTATIONS.items())
        + ".",
        f"none, or of {', '.join(AUGMENTATIONS)} each at most once, separated by commas",
        lambda v: set(v) <= set(AUGMENTATIONS) and are_different(v),
        parse=parse_names,
    )
    class_weight: str = setting(
        "none",
        "Weight of each class in the loss: none, balanced (all classes count the same, however many samples they "
        "have), or a JSON or CSV file of labels and weights.",
        "none, balanced, and paths of JSON and CSV files",
    )
    sample_weight: str | None = setting(
        None,
        "Column of a table, or array of an .npz file, with the weight of each sample.  [default: the array "
        "sample_weight of an .npz file that has one]",
        "names of columns and arrays",
    )
    early_stopping: int = setting(
        0, "Stop after this many epochs without a better --monitor, and keep the best model; 0 is off.", *whole(0)
    )
    monitor: str = setting(
        "validation_loss",
        "Score that --early-stopping watches: validation_loss or a validation metric such as validation_roc_auc.",
        "validation_ with loss or the name of a metric, as in validation_loss, validation_roc_auc, validation_mae",
        lambda v: v.startswith("validation_") and v != "validation_",
    )
    validation_fraction: float | None = setting(
        None,
        "Fraction of the training set kept for validation.  [default: 0, or 0.1 with --early-stopping]",
        *number(0, 1),
    )
    validation_data: str | None = setting(None, "Separate validation samples, in any form that --data takes.", DATA)
    test_fraction: float = setting(0.2, "Fraction of the samples kept for testing.", *number(0, 1, open_low=True))
    test_data: str | None = setting(
        None, "Separate test samples, in any form that --data takes; no part of --data is then kept for testing.", DATA
    )
    stratify: bool = setting(False, "Keep the proportions of the classes in each part of the data.")
    seed: int = setting(
        42,
        "Random seed for split, initialization, shuffling, dropout and augmentation.",
        "whole numbers from 0 to 4294967295",
        lambda v: 0 <= v < 2**32,
    )
    shards: int | None = setting(
        None, "Number of shards the training set is split into.  [default: 8, or more for more ranks]", *whole(1)
    )
    deterministic: bool = setting(False, "Compute the same bits on any number of ranks.")
    bucket_mb: float | None = setting(
        None,
        "Let MPI reduce gradients in buckets of this size in MB during the backward pass; 0 is one Allreduce.  "
        "[default: shared memory on one host, rings between hosts]",
        *number(0),
        free=True,
    )
    compress: str | None = setting(
        None,
        "Compress gradients: fp16 (more digits) or bf16 (faster) sends 16 bits per number between hosts; powersgd:4 "
        "sends matrices of rank 4 between all ranks, with error feedback.  [default: none]",
        "none, fp16, bf16, and powersgd: with a rank from 1 to 9999, as in powersgd:4",
        is_compression,
    )
    dtype: str = setting("float32", "Precision of all arithmetic.", choices=("float32", "float64"))
    threads: int | None = setting(
        None,
        "Number of BLAS threads per rank.  [default: the rank's share of the cores; 1 with --deterministic]",
        "whole numbers from 1 to 9999",
        lambda v: 1 <= v <= 9999,  # BLAS takes a C int
        free=True,
    )
    output: str | None = setting(
        None,
        "Directory for the results.  [default: runs/ and the name of the data, -2, -3, … if taken]",
        "paths",
        free=True,
    )
    overwrite: bool = setting(False, "Replace the run in the directory --output.", free=True)
    checkpoint_every: str = setting(
        "10minutes",
        "Steps, epochs or minutes between two checkpoints, such as 500steps, 2epochs or 10minutes; or never.",
        "a whole number from 1 with steps, epochs or minutes, as in 500steps, or never",
        is_interval,
        free=True,
    )
    keep: int = setting(2, "Number of checkpoints to keep.", *whole(1), free=True)
    resume: bool = setting(False, "Continue from the newest valid checkpoint, if there is one.", free=True)
    verify_replicas: bool = setting(
        True, "Compare the parameters of all ranks after each epoch and at each checkpoint.", free=True
    )

    stall_timeout: float = setting(
        300.0,
        "Seconds to wait for a rank that is stopped or hangs before the job ends; 0 is off.",
        *number(0),
        free=True,
    )
    timeline: str | None = setting(
        None, "File for a timeline of all ranks; ui.perfetto.dev and chrome://tracing open it.", "paths", free=True
    )

    report: bool = setting(False, "Write report.html into the directory of the run at the end.", free=True)
    log: tuple[str, ...] = setting(
        (),
        "Also write the metrics of each epoch for tensorboard, mlflow or both, into the directory of the run.",
        f"none, or of {', '.join(LOGS)} each at most once, separated by commas",
        lambda v: set(v) <= set(LOGS) and are_different(v),
        parse=parse_names,
        free=True,
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            given, meta = getattr(self, f.name), f.metadata
            choices, check = meta["choices"], meta["check"]
            try:
                value = converted(given, f.type, meta["parse"])
                valid = value is None or (value in choices if choices else not check or check(value))
            except (ValueError, OverflowError):
                valid = False
            if not valid:
                allowed = ", ".join(choices) or meta["allowed"]
                raise InputError(f"{flag_of(f.name)} is {flag_value(given)}; allowed are {allowed}")
            object.__setattr__(self, f.name, value)  # frozen, but still under construction
        complete_settings(self)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def differences(self, before: dict[str, Any]) -> list[str]:
        """Return a line for each setting that a resumed run must keep, and that differs from `before`, as JSON."""
        now = self.as_json()
        return [
            f"{flag_of(f.name)} was {flag_value(before.get(f.name))}, is {flag_value(now[f.name])}"
            for f in fields(self)
            if not f.metadata["free"] and now[f.name] != before.get(f.name)
        ]
