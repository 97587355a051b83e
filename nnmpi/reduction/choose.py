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
    length = architecture.parameters + TAIL
    if config.deterministic:
        return Deterministic(world, shards, held, length, config.dtype)
    return native(world, architecture.layer_sizes, length, config.dtype, config.bucket_mb)
