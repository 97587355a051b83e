"""The choice of the reduction for a run."""

from itertools import pairwise

from nnmpi.config import Config
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.reduction.allreduce import native
from nnmpi.reduction.compress import WIRE_FORMATS
from nnmpi.reduction.powersgd import PowerSGD
from nnmpi.reduction.protocol import Reduction
from nnmpi.reduction.step_vector import TAIL
from nnmpi.reduction.tree import Deterministic


def choose(config: Config, world: World, shards: int, held: range, architecture: Architecture) -> Reduction:
    """Return the reduction for the step vectors of `architecture`; all ranks make it together."""
    if config.compress and config.compress.startswith("powersgd") and world.size > 1:
        shapes = [(1 + fan_in, fan_out) for fan_in, fan_out in pairwise(architecture.sizes)]
        rank = int(config.compress.partition(":")[2])
        return PowerSGD(world, shapes, architecture.dtype, rank, config.seed)
    wire_format = config.compress if config.compress in WIRE_FORMATS else None
    return choose_for(architecture, world, shards, held, config.deterministic, config.bucket_mb, wire_format)


def without_effect(compress: str | None, world: World) -> str:
    """Return a note if ``--compress`` has no effect, because no gradient is sent; else ""."""
    if world.size == 1 and compress:
        return f"note: --compress {compress} has no effect on one rank"
    if compress in WIRE_FORMATS and len(world.addresses.ranks_of_machines()) == 1:
        return f"note: --compress {compress} has no effect: all ranks are on one host, where no gradient is sent"
    return ""


def choose_for(
    architecture: Architecture,
    world: World,
    shards: int,
    held: range,
    deterministic: bool,
    bucket_mb: float | None = None,
    wire_format: str | None = None,
) -> Reduction:
    """Return the reduction as `choose` does, from single settings; `wire_format` as in `native`."""
    length = architecture.parameters + TAIL
    if deterministic:
        return Deterministic(world, shards, held, length, architecture.dtype)
    return native(world, architecture.layer_sizes, length, architecture.dtype, bucket_mb, wire_format)
