"""Which reduction fits a run."""

from nnmpi.config import Config
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.reduction.allreduce import native
from nnmpi.reduction.protocol import Reduction
from nnmpi.reduction.step_vector import TAIL
from nnmpi.reduction.tree import Deterministic


def choose(config: Config, world: World, shards: int, held: range, architecture: Architecture) -> Reduction:
    """The reduction for the step vectors of `architecture`; all ranks make it together."""
    return choose_for(architecture, world, shards, held, config.deterministic, config.bucket_mb)


def choose_for(
    architecture: Architecture,
    world: World,
    shards: int,
    held: range,
    deterministic: bool,
    bucket_mb: float | None = None,
) -> Reduction:
    """The same where there is no `Config`."""
    length = architecture.parameters + TAIL
    if deterministic:
        return Deterministic(world, shards, held, length, architecture.dtype)
    return native(world, architecture.layer_sizes, length, architecture.dtype, bucket_mb)
