"""Checks of settings that depend on each other, and settings that follow from others."""

from typing import TYPE_CHECKING

from nnmpi.errors import InputError
from nnmpi.nn.losses import LOSSES
from nnmpi.setting import flag_of

if TYPE_CHECKING:
    from nnmpi.config import Config


def complete_settings(config: "Config") -> None:
    """Refuse settings that contradict each other, and set those that follow from others.

    Raises
    ------
    InputError
        With both settings.
    """
    if config.deterministic and config.bucket_mb:
        raise InputError(
            f"--bucket-mb {config.bucket_mb:g} cannot be combined with --deterministic, which exchanges all sums "
            "at once; leave out one of the two"
        )
    _check_compression(config)
    _check_validation(config)
    if config.task == "regression" and config.loss not in ("auto", "mse"):
        raise InputError(f"--loss {config.loss} is for classes, --task regression for numbers; allowed are auto, mse")
    if config.task == "multilabel" and config.loss not in ("auto", "binary-cross-entropy"):
        raise InputError(
            f"--loss {config.loss} cannot be combined with --task multilabel; allowed are auto, binary-cross-entropy"
        )
    if config.loss == "auto" and config.output_activation in ("auto", "softmax", "identity"):
        return  # the data decides
    loss = "mse" if config.loss == "auto" else config.loss
    if config.output_activation != "auto" and config.output_activation not in LOSSES[loss]:
        raise InputError(
            f"--output-activation {config.output_activation} cannot be combined with --loss {config.loss}; "
            f"allowed are auto, {', '.join(LOSSES[loss])}"
        )


def _check_compression(config: "Config") -> None:
    """Refuse compressed gradients if sums must be reproducible, or if MPI adds the gradients."""
    if config.compress == "none":
        object.__setattr__(config, "compress", None)  # frozen, but still under construction
    if not config.compress:
        return
    if config.deterministic:
        raise InputError(
            f"--compress {config.compress} cannot be combined with --deterministic: the rounding of compressed "
            "gradients depends on the hosts and ranks; leave out one of the two"
        )
    if config.bucket_mb is not None:
        raise InputError(
            f"--compress {config.compress} cannot be combined with --bucket-mb {config.bucket_mb:g}, with which MPI "
            "adds gradients that are not compressed; leave out one of the two"
        )


def _check_validation(config: "Config") -> None:
    """Set the size of the validation part, and refuse settings that need one if there is none."""
    fraction = config.validation_fraction
    if config.validation_data and fraction:
        raise InputError(
            f"--validation-data {config.validation_data} and --validation-fraction {fraction:g} cannot be "
            "combined; leave out one of the two"
        )
    if fraction is None:
        fraction = 0.1 if config.early_stopping and not config.validation_data else 0.0
        object.__setattr__(config, "validation_fraction", fraction)  # frozen, but still under construction
    if fraction or config.validation_data:
        return
    for flag, given in (("early_stopping", config.early_stopping), ("monitor", config.monitor != "validation_loss")):
        if given:
            raise InputError(
                f"{flag_of(flag)} {getattr(config, flag)} needs a validation part: give --validation-fraction (it is "
                f"{fraction:g}) or --validation-data"
            )
