"""The sources of ``--test-data`` and ``--validation-data``."""

from collections.abc import Iterator
from contextlib import contextmanager

from nnmpi.config import Config
from nnmpi.data.sources import Columns, Source, open_source
from nnmpi.errors import InputError
from nnmpi.mpi.world import World
from nnmpi.training.agreement import check_same_data
from nnmpi.training.gather_targets import gather_targets


@contextmanager
def naming_flag_of(part: str) -> Iterator[None]:
    """Let errors in the source of a part name the flag of the part; sources call theirs ``--data``."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace("--data ", f"--{part}-data "), shared=error.shared) from None


def open_separate_sources(config: Config, source: Source, world: World) -> dict[str, Source]:
    """Open ``--test-data`` and ``--validation-data``, by the name of the part. All ranks take part.

    Raises
    ------
    InputError
        On all ranks, if one of them cannot be opened or does not fit `source`.
    """
    names = {"test": config.test_data, "validation": config.validation_data}
    sources: dict[str, Source] = {}
    with world.together():
        for part, name in names.items():
            if name is not None:
                with naming_flag_of(part):
                    is_text = source.y is not None and source.y.dtype.kind == "U"
                    columns = Columns(source.target, weight=config.sample_weight, target_is_text=is_text)
                    sources[part] = open_source(
                        name,
                        columns=columns,
                        known=source.columns,
                        features=source.features,
                        first_index=source.first_index,
                    )
                _check_fit(part, sources[part], source)
    for part, other in sources.items():
        with naming_flag_of(part):
            check_same_data(other, world)
            sources[part] = gather_targets(other, world)
    return sources


def _check_fit(part: str, other: Source, source: Source) -> None:
    if other.features != source.features:
        raise InputError(
            f"--{part}-data {other.name} has {other.features} features, --data {source.name} has {source.features}; "
            "both must have the same features"
        )
    if (other.weights is None) != (source.weights is None):
        without_weights = other.name if other.weights is None else source.name
        raise InputError(
            f"--{part}-data {other.name}: {without_weights} has no sample weights; give weights to both files or "
            "to none"
        )
