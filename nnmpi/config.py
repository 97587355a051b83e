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
    flag_of,
    is_compression,
    is_interval,
    number,
    parse_batch_size,
    parse_columns,
    parse_names,
    parse_sizes,
    setting,
    shown,
    whole,
)
from nnmpi.settings_together import complete_settings

LOGS = ("tensorboard", "mlflow")


@dataclass(frozen=True)
class Config:
    """The settings of a training run.

    Raises
    ------
    InputError
        If a setting is out of bounds or cannot be combined with another.
    """

    data: str = setting("digits", sources_text())
    target: tuple[str, ...] = setting(
        (),
        "column of a table to predict, or several of numbers; by default the one named target, y, label or class",
        COLUMN_NAMES,
        are_different,
        parse=parse_columns,
    )
    drop: tuple[str, ...] = setting(
        (), "columns of a table to leave out", COLUMN_NAMES, are_different, parse=parse_columns
    )
    categories: tuple[str, ...] = setting(
        (), "columns of numbers in a table that are categories", COLUMN_NAMES, are_different, parse=parse_columns
    )
    hidden: tuple[int, ...] = setting(
        (128, 64),
        "sizes of the hidden layers, or none",
        "whole numbers from 1, separated by commas",
        lambda v: all(isinstance(n, int) and n >= 1 for n in v),
        parse=parse_sizes,
    )
    activation: str = setting("relu", "activation of the hidden layers", choices=tuple(ACTIVATIONS))
    loss: str = setting(
        "auto",
        "auto is cross-entropy for classes, binary-cross-entropy for labels, mse for numbers",
        choices=("auto", *LOSSES),
    )
    task: str = setting(
        "auto",
        "auto takes strings, booleans and whole numbers that repeat (5 rows a class) as classes, several columns of 0 "
        "and 1 as labels (multilabel), all else as numbers",
        choices=("auto", "classification", "multilabel", "regression"),
    )
    output_activation: str = setting("auto", "auto is what belongs to the loss", choices=("auto", *OUTPUT_ACTIVATIONS))
    epochs: int = setting(10, "passes over the training set", *whole(0), free=True)
    batch_size: int | Literal["full"] = setting(
        32,
        "samples of a step over all ranks; full is plain gradient descent",
        "whole numbers from 1, or full",
        lambda v: v == "full" or (isinstance(v, int) and v >= 1),
        parse=parse_batch_size,
    )
    optimizer: str = setting("sgd", "how a gradient changes the parameters", choices=tuple(OPTIMIZERS))
    learning_rate: float = setting(0.01, "initial learning rate", *number(0, open_low=True))
    momentum: float = setting(0.9, "momentum of sgd", *number(0, 1))
    nesterov: bool = setting(True, "look ahead with the momentum")
    lr_schedule: str = setting("inverse-time", "how the learning rate changes", choices=tuple(SCHEDULES))
    lr_decay: float = setting(1e-6, "inverse-time: learning rate / (1 + decay · updates)", *number(0))
    lr_step_epochs: int = setting(10, "step: epochs between two drops of the learning rate", *whole(1))
    lr_step_factor: float = setting(0.1, "step: factor of each drop", *number(0, open_low=True))
    warmup_epochs: float = setting(0.0, "epochs in which the learning rate rises to its full value", *number(0))
    l2: float = setting(0.0, "λ of the weights' decay: adds λW to the gradient", *number(0))
    dropout: float = setting(0.0, "part of the hidden outputs dropped in training", *number(0, 1))
    augment: tuple[str, ...] = setting(
        (),
        "none or, separated by commas: " + "; ".join(f"{name} ({meaning})" for name, meaning in AUGMENTATIONS.items()),
        f"none, or of {', '.join(AUGMENTATIONS)} each at most once, separated by commas",
        lambda v: set(v) <= set(AUGMENTATIONS) and len(set(v)) == len(v),
        parse=parse_names,
    )
    class_weight: str = setting(
        "none",
        "weight of each class in the loss: none, balanced (classes of all sizes count the same), or a JSON or CSV file "
        "of labels and weights",
    )
    sample_weight: str | None = setting(
        None,
        "column of a table, or array of an .npz file, with the weight of each sample  [default: the array "
        "sample_weight of an .npz file that has one]",
    )
    early_stopping: int = setting(
        0, "stop after so many epochs in which --monitor did not get better, keep the best; 0 is off", *whole(0)
    )
    monitor: str = setting(
        "validation_loss",
        "what early stopping watches: the loss or a metric of the validation part, such as validation_roc_auc",
        "validation_ with loss or the name of a metric, as in validation_loss, validation_roc_auc, validation_mae",
        lambda v: v.startswith("validation_") and v != "validation_",
    )
    validation_fraction: float | None = setting(
        None,
        "part of the training set kept for validation  [default: 0, or 0.1 with --early-stopping]",
        *number(0, 1),
    )
    validation_data: str | None = setting(None, "validation samples of their own, as for --data")
    test_fraction: float = setting(0.2, "part of the samples kept for testing", *number(0, 1, open_low=True))
    test_data: str | None = setting(
        None, "test samples of their own, as for --data; all of --data is for training then"
    )
    stratify: bool = setting(False, "keep the shares of the classes when splitting")
    seed: int = setting(
        42,
        "of the split, the initial parameters and all else that is random",
        "whole numbers from 0 to 4294967295",
        lambda v: isinstance(v, int) and 0 <= v < 2**32,
    )
    shards: int | None = setting(
        None, "parts that the training set is dealt out in  [default: 8, or more for more ranks]", *whole(1)
    )
    deterministic: bool = setting(False, "the same bits on any number of ranks")
    bucket_mb: float | None = setting(
        None,
        "reduce gradients by MPI in buckets of so many MB while earlier layers go backward, 0: in one Allreduce  "
        "[default: in shared memory on one host, between several in rings]",
        *number(0),
        free=True,
    )
    compress: str | None = setting(
        None,
        "send gradients between hosts in 16 bits: fp16 (more digits) or bf16; or as matrices of a low rank between all "
        "ranks, with error feedback: powersgd:4  [default: as they are]",
        "none, fp16, bf16, and powersgd: with a rank from 1 to 9999, as in powersgd:4",
        is_compression,
    )
    dtype: str = setting("float32", "precision of all arithmetic", choices=("float32", "float64"))
    threads: int | None = setting(
        None,
        "BLAS threads of a rank  [default: its share of the cores; 1 if deterministic]",
        "whole numbers from 1 to 9999",
        lambda v: isinstance(v, int) and 1 <= v <= 9999,  # BLAS takes a C int
        free=True,
    )
    output: str | None = setting(
        None, "directory for the results  [default: runs/ and the name of the data, -2, -3, … if taken]", free=True
    )
    overwrite: bool = setting(False, "replace the run that is in --output", free=True)
    checkpoint_every: str = setting(
        "10minutes",
        "write a checkpoint every so many steps, epochs or minutes (500steps, 2epochs, 10minutes), or never",
        "a whole number from 1 with steps, epochs or minutes, as in 500steps, or never",
        is_interval,
        free=True,
    )
    keep: int = setting(2, "checkpoints to keep", *whole(1), free=True)
    resume: bool = setting(False, "go on from the newest valid checkpoint, if there is one", free=True)
    verify_replicas: bool = setting(
        True, "compare the ranks' parameters after each epoch and at each checkpoint", free=True
    )

    stall_timeout: float = setting(
        300.0,
        "end the job if ranks wait so many seconds for others that are stopped or hung; 0 is off",
        *number(0),
        free=True,
    )
    timeline: str | None = setting(
        None, "file for a timeline of all ranks, which ui.perfetto.dev and chrome://tracing open", free=True
    )

    report: bool = setting(False, "write report.html into the run's directory at the end", free=True)
    log: tuple[str, ...] = setting(
        (),
        "write the metrics of each epoch also for tensorboard, mlflow or both, into the run's directory",
        f"none, or of {', '.join(LOGS)} each at most once, separated by commas",
        lambda v: set(v) <= set(LOGS) and len(set(v)) == len(v),
        parse=parse_names,
        free=True,
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value, meta = getattr(self, f.name), f.metadata
            if value is None and f.default is None:
                continue
            allowed = ", ".join(meta["choices"]) or meta["allowed"]
            if value not in meta["choices"] if meta["choices"] else meta["check"] and not meta["check"](value):
                raise InputError(f"{flag_of(f.name)} is {shown(value)}; allowed are {allowed}")
        complete_settings(self)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def differences(self, before: dict[str, Any]) -> list[str]:
        """Return a line for each setting that a resumed run must keep, and that differs from `before`, as JSON."""
        now = self.as_json()
        return [
            f"{flag_of(f.name)} was {shown(before.get(f.name))}, is {shown(now[f.name])}"
            for f in fields(self)
            if not f.metadata["free"] and now[f.name] != before.get(f.name)
        ]
