"""Which settings of a run go together, and what some are where others decide it."""

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
        That names both.
    """
    if config.deterministic and config.bucket_mb:
        raise InputError(
            f"--bucket-mb {config.bucket_mb:g} does not go with --deterministic, which exchanges all sums at once; "
            "leave out one of the two"
        )
    _check_compression(config)
    _check_validation(config)
    if config.task == "regression" and config.loss not in ("auto", "mse"):
        raise InputError(f"--loss {config.loss} is for classes and --task regression for numbers; allowed is mse")
    if config.task == "multilabel" and config.loss not in ("auto", "binary-cross-entropy"):
        raise InputError(
            f"--loss {config.loss} does not go with --task multilabel; allowed are auto, binary-cross-entropy"
        )
    if config.loss == "auto" and config.output_activation in ("auto", "softmax", "identity"):
        return  # decided when the data is known
    loss = "mse" if config.loss == "auto" else config.loss
    if config.output_activation != "auto" and config.output_activation not in LOSSES[loss]:
        raise InputError(
            f"--output-activation {config.output_activation} does not go with --loss {config.loss}; "
            f"allowed are auto, {', '.join(LOSSES[loss])}"
        )


def _check_compression(config: "Config") -> None:
    """Refuse compressed gradients where sums are to be exact, or MPI is to make them."""
    if config.compress == "none":
        object.__setattr__(config, "compress", None)  # frozen: this is still the making of it
    if not config.compress:
        return
    if config.deterministic:
        raise InputError(
            f"--compress {config.compress} does not go with --deterministic: what is rounded on its way depends on "
            "the hosts and ranks; leave out one of the two"
        )
    if config.bucket_mb is not None:
        raise InputError(
            f"--compress {config.compress} does not go with --bucket-mb {config.bucket_mb:g}, where MPI adds up the "
            "gradients as they are; leave out one of the two"
        )


def _check_validation(config: "Config") -> None:
    """Decide how large the validation part is, and refuse to watch one that is not there."""
    fraction = config.validation_fraction
    if config.validation_data and fraction:
        raise InputError(
            f"--validation-data {config.validation_data} and --validation-fraction {fraction:g} do not go together; "
            "leave out one of the two"
        )
    if fraction is None:
        fraction = 0.1 if config.early_stopping and not config.validation_data else 0.0
        object.__setattr__(config, "validation_fraction", fraction)  # frozen: this is still the making of it
    if fraction or config.validation_data:
        return
    for flag, given in (("early_stopping", config.early_stopping), ("monitor", config.monitor != "validation_loss")):
        if given:
            raise InputError(
                f"{flag_of(flag)} {getattr(config, flag)} needs a validation part: give --validation-fraction (it is "
                f"{fraction:g}) or --validation-data"
            )
