"""What a run was asked to do: one frozen dataclass that checks itself. Its fields are the flags of ``train``."""

import csv
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from nnmpi.data.augment import AUGMENTATIONS
from nnmpi.data.sources import sources_text
from nnmpi.errors import InputError
from nnmpi.nn.activations import ACTIVATIONS
from nnmpi.nn.losses import LOSSES, OUTPUT_ACTIVATIONS
from nnmpi.nn.optimizers import OPTIMIZERS
from nnmpi.nn.schedules import SCHEDULES

Check = Callable[[Any], bool]
LOGS = ("tensorboard", "mlflow")


def flag_of(name: str) -> str:
    """``batch_size`` → ``--batch-size``."""
    return "--" + name.replace("_", "-")


def parse_sizes(text: str) -> tuple[int, ...]:
    """``128,64`` → ``(128, 64)``; ``none`` or nothing → ``()``."""
    return () if text.strip() in ("", "none") else tuple(int(part) for part in text.split(","))


def parse_batch_size(text: str) -> int | Literal["full"]:
    """``32`` → 32; ``full`` stays."""
    return "full" if text == "full" else int(text)


def parse_names(text: str) -> tuple[str, ...]:
    """``shift,noise`` → ``("shift", "noise")``; ``none`` → ``()``."""
    return () if text.strip() in ("", "none") else tuple(part.strip() for part in text.split(","))


def parse_columns(text: str) -> tuple[str, ...]:
    """``origin,dest`` → ``("origin", "dest")``; a name with a comma is quoted as in a CSV file; ``none`` → ``()``."""
    if text.strip() in ("", "none"):
        return ()
    try:
        return tuple(name.strip() for name in next(csv.reader([text], strict=True)))
    except csv.Error:
        raise ValueError(text) from None


def parse_interval(text: str) -> tuple[int, str]:
    """``500steps`` → ``(500, "steps")``; also epochs and minutes; ``never`` → ``(0, "never")``."""
    match = re.fullmatch(r"([1-9]\d{0,8})\s*(step|epoch|minute)s?", text)
    if match:
        return int(match[1]), match[2] + "s"
    if text == "never":
        return 0, text
    raise ValueError(text)


def _is_interval(text: str) -> bool:
    try:
        return bool(parse_interval(text))
    except ValueError:
        return False


COLUMN_NAMES = "names of columns, each at most once, separated by commas"


def _are_different(names: Any) -> bool:
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _flag(
    default: Any,
    help: str,
    allowed: str = "",
    check: Check | None = None,
    *,
    choices: tuple[str, ...] = (),
    parse: Callable[[str], Any] | None = None,
    free: bool = False,
) -> Any:
    metadata = {"help": help, "allowed": allowed, "check": check, "choices": choices, "parse": parse, "free": free}
    return field(default=default, metadata=metadata)


def _whole(low: int) -> tuple[str, Check]:
    return f"whole numbers from {low}", lambda v: isinstance(v, int) and v >= low


def _number(low: float, high: float = math.inf, *, open_low: bool = False) -> tuple[str, Check]:
    text = f"numbers {'above' if open_low else 'from'} {low:g}"
    text += f" up to, not including, {high:g}" if high < math.inf else ""
    return text, lambda v: isinstance(v, int | float) and (low < v if open_low else low <= v) and v < high


@dataclass(frozen=True)
class Config:
    """The settings of a training run.

    Raises
    ------
    InputError
        If a setting is out of its bounds or does not go with another.
    """

    data: str = _flag("digits", sources_text())
    target: tuple[str, ...] = _flag(
        (),
        "column of a table to predict, or several of numbers; by default the one named target, y, label or class",
        COLUMN_NAMES,
        _are_different,
        parse=parse_columns,
    )
    drop: tuple[str, ...] = _flag(
        (), "columns of a table to leave out", COLUMN_NAMES, _are_different, parse=parse_columns
    )
    categories: tuple[str, ...] = _flag(
        (), "columns of numbers in a table that are categories", COLUMN_NAMES, _are_different, parse=parse_columns
    )
    hidden: tuple[int, ...] = _flag(
        (128, 64),
        "sizes of the hidden layers, or none",
        "whole numbers from 1, separated by commas",
        lambda v: all(isinstance(n, int) and n >= 1 for n in v),
        parse=parse_sizes,
    )
    activation: str = _flag("relu", "activation of the hidden layers", choices=tuple(ACTIVATIONS))
    loss: str = _flag(
        "auto",
        "auto is cross-entropy for classes, binary-cross-entropy for labels, mse for numbers",
        choices=("auto", *LOSSES),
    )
    task: str = _flag(
        "auto",
        "auto takes strings, booleans and whole numbers that repeat (5 rows a class) as classes, several columns of 0 "
        "and 1 as labels (multilabel), all else as numbers",
        choices=("auto", "classification", "multilabel", "regression"),
    )
    output_activation: str = _flag("auto", "auto is what belongs to the loss", choices=("auto", *OUTPUT_ACTIVATIONS))
    epochs: int = _flag(10, "passes over the training set", *_whole(0), free=True)
    batch_size: int | Literal["full"] = _flag(
        32,
        "samples of a step over all ranks; full is plain gradient descent",
        "whole numbers from 1, or full",
        lambda v: v == "full" or (isinstance(v, int) and v >= 1),
        parse=parse_batch_size,
    )
    optimizer: str = _flag("sgd", "how a gradient changes the parameters", choices=tuple(OPTIMIZERS))
    learning_rate: float = _flag(0.01, "initial learning rate", *_number(0, open_low=True))
    momentum: float = _flag(0.9, "momentum of sgd", *_number(0, 1))
    nesterov: bool = _flag(True, "look ahead with the momentum")
    lr_schedule: str = _flag("inverse-time", "how the learning rate changes", choices=tuple(SCHEDULES))
    lr_decay: float = _flag(1e-6, "inverse-time: learning rate / (1 + decay · updates)", *_number(0))
    lr_step_epochs: int = _flag(10, "step: epochs between two drops of the learning rate", *_whole(1))
    lr_step_factor: float = _flag(0.1, "step: factor of each drop", *_number(0, open_low=True))
    warmup_epochs: float = _flag(0.0, "epochs in which the learning rate rises to its full value", *_number(0))
    l2: float = _flag(0.0, "λ of the weights' decay: adds λW to the gradient", *_number(0))
    dropout: float = _flag(0.0, "part of the hidden outputs dropped in training", *_number(0, 1))
    augment: tuple[str, ...] = _flag(
        (),
        "none or, separated by commas: " + "; ".join(f"{name} ({meaning})" for name, meaning in AUGMENTATIONS.items()),
        f"none, or of {', '.join(AUGMENTATIONS)} each at most once, separated by commas",
        lambda v: set(v) <= set(AUGMENTATIONS) and len(set(v)) == len(v),
        parse=parse_names,
    )
    class_weight: str = _flag(
        "none",
        "weight of each class in the loss: none, balanced (classes of all sizes count the same), or a JSON or CSV file "
        "of labels and weights",
    )
    sample_weight: str | None = _flag(
        None,
        "column of a table, or array of an .npz file, with the weight of each sample  [default: the array "
        "sample_weight of an .npz file that has one]",
    )
    early_stopping: int = _flag(
        0, "stop after so many epochs in which --monitor did not get better, keep the best; 0 is off", *_whole(0)
    )
    monitor: str = _flag(
        "validation_loss",
        "what early stopping watches: the loss or a metric of the validation part, such as validation_roc_auc",
        "validation_ with loss or the name of a metric, as in validation_loss, validation_roc_auc, validation_mae",
        lambda v: v.startswith("validation_") and v != "validation_",
    )
    validation_fraction: float | None = _flag(
        None,
        "part of the training set kept for validation  [default: 0, or 0.1 with --early-stopping]",
        *_number(0, 1),
    )
    validation_data: str | None = _flag(None, "validation samples of their own, as for --data")
    test_fraction: float = _flag(0.2, "part of the samples kept for testing", *_number(0, 1, open_low=True))
    test_data: str | None = _flag(None, "test samples of their own, as for --data; all of --data is for training then")
    stratify: bool = _flag(False, "keep the shares of the classes when splitting")
    seed: int = _flag(
        42,
        "of the split, the initial parameters and all else that is random",
        "whole numbers from 0 to 4294967295",
        lambda v: isinstance(v, int) and 0 <= v < 2**32,
    )
    shards: int | None = _flag(
        None, "parts that the training set is dealt out in  [default: 8, or more for more ranks]", *_whole(1)
    )
    deterministic: bool = _flag(False, "the same bits on any number of ranks")
    bucket_mb: float | None = _flag(
        None,
        "reduce gradients by MPI in buckets of so many MB while earlier layers go backward, 0: in one Allreduce  "
        "[default: in shared memory on one host, between several in rings]",
        *_number(0),
        free=True,
    )
    compress: str | None = _flag(
        None,
        "send gradients between hosts in 16 bits: fp16 (more digits) or bf16; or as matrices of a low rank between all "
        "ranks, with error feedback: powersgd:4  [default: as they are]",
        "none, fp16, bf16, and powersgd: with a rank from 1 to 9999, as in powersgd:4",
        lambda v: isinstance(v, str) and re.fullmatch(r"none|fp16|bf16|powersgd:[1-9]\d{0,3}", v) is not None,
    )
    dtype: str = _flag("float32", "precision of all arithmetic", choices=("float32", "float64"))
    threads: int | None = _flag(
        None,
        "BLAS threads of a rank  [default: its share of the cores; 1 if deterministic]",
        "whole numbers from 1 to 9999",
        lambda v: isinstance(v, int) and 1 <= v <= 9999,  # BLAS takes no long ones
        free=True,
    )
    output: str | None = _flag(
        None, "directory for the results  [default: runs/ and the name of the data, -2, -3, … if taken]", free=True
    )
    overwrite: bool = _flag(False, "replace the run that is in --output", free=True)
    checkpoint_every: str = _flag(
        "10minutes",
        "write a checkpoint every so many steps, epochs or minutes (500steps, 2epochs, 10minutes), or never",
        "a whole number from 1 with steps, epochs or minutes, as in 500steps, or never",
        _is_interval,
        free=True,
    )
    keep: int = _flag(2, "checkpoints to keep", *_whole(1), free=True)
    resume: bool = _flag(False, "go on from the newest valid checkpoint, if there is one", free=True)
    verify_replicas: bool = _flag(
        True, "compare the ranks' parameters after each epoch and at each checkpoint", free=True
    )

    stall_timeout: float = _flag(
        300.0,
        "end the job if ranks wait so many seconds for others that are stopped or hung; 0 is off",
        *_number(0),
        free=True,
    )
    timeline: str | None = _flag(
        None, "file for a timeline of all ranks, which ui.perfetto.dev and chrome://tracing open", free=True
    )

    report: bool = _flag(False, "write report.html into the run's directory at the end", free=True)
    log: tuple[str, ...] = _flag(
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
        if self.deterministic and self.bucket_mb:
            raise InputError(
                f"--bucket-mb {self.bucket_mb:g} does not go with --deterministic, which exchanges all sums at once; "
                "leave out one of the two"
            )
        self._settle_compression()
        self._settle_validation()
        if self.task == "regression" and self.loss not in ("auto", "mse"):
            raise InputError(f"--loss {self.loss} is for classes and --task regression for numbers; allowed is mse")
        if self.task == "multilabel" and self.loss not in ("auto", "binary-cross-entropy"):
            raise InputError(
                f"--loss {self.loss} does not go with --task multilabel; allowed are auto, binary-cross-entropy"
            )
        if self.loss == "auto" and self.output_activation in ("auto", "softmax", "identity"):
            return  # decided when the data is known
        loss = "mse" if self.loss == "auto" else self.loss
        if self.output_activation != "auto" and self.output_activation not in LOSSES[loss]:
            raise InputError(
                f"--output-activation {self.output_activation} does not go with --loss {self.loss}; "
                f"allowed are auto, {', '.join(LOSSES[loss])}"
            )

    def _settle_compression(self) -> None:
        """Refuse compressed gradients where sums are to be exact, or MPI is to make them."""
        if self.compress == "none":
            object.__setattr__(self, "compress", None)  # frozen: this is still the making of it
        if not self.compress:
            return
        if self.deterministic:
            raise InputError(
                f"--compress {self.compress} does not go with --deterministic: what is rounded on its way depends on "
                "the hosts and ranks; leave out one of the two"
            )
        if self.bucket_mb is not None:
            raise InputError(
                f"--compress {self.compress} does not go with --bucket-mb {self.bucket_mb:g}, where MPI adds up the "
                "gradients as they are; leave out one of the two"
            )

    def _settle_validation(self) -> None:
        """Decide how large the validation part is, and refuse to watch one that is not there."""
        fraction = self.validation_fraction
        if self.validation_data and fraction:
            raise InputError(
                f"--validation-data {self.validation_data} and --validation-fraction {fraction:g} do not go together; "
                "leave out one of the two"
            )
        if fraction is None:
            fraction = 0.1 if self.early_stopping and not self.validation_data else 0.0
            object.__setattr__(self, "validation_fraction", fraction)  # frozen: this is still the making of it
        if fraction or self.validation_data:
            return
        for flag, given in (("early_stopping", self.early_stopping), ("monitor", self.monitor != "validation_loss")):
            if given:
                raise InputError(
                    f"{flag_of(flag)} {getattr(self, flag)} needs a validation part: give --validation-fraction (it is "
                    f"{fraction:g}) or --validation-data"
                )

    def as_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def differences(self, before: dict[str, Any]) -> list[str]:
        """What in these settings differs from those of a run, as JSON, and may not when it is resumed."""
        now = self.as_json()
        return [
            f"{flag_of(f.name)} was {shown(before.get(f.name))}, is {shown(now[f.name])}"
            for f in fields(self)
            if not f.metadata["free"] and now[f.name] != before.get(f.name)
        ]


def shown(value: Any) -> str:
    """A setting as it is written on the command line."""
    if isinstance(value, tuple | list):
        return ",".join(str(v) for v in value) or "none"
    if value is None:
        return "the default"
    return str(value)
