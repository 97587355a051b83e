"""How the ranks of a run bring together what each has found: which reduction, and who updates what."""

from nnmpi.config import Config
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.blas import fingerprint
from nnmpi.nn.optimizers import OPTIMIZERS, Optimizer
from nnmpi.reduction.allreduce import native
from nnmpi.reduction.protocol import Array, Reduction
from nnmpi.reduction.step_vector import TAIL, Sums
from nnmpi.reduction.tree import Deterministic


class Exchange:
    """What a rank reduces and updates with; all ranks make it together.

    Attributes
    ----------
    reduce, optimizer
        What each step calls, in this order; between the two `sums` are there.
    sums : Sums
        The reduction's vectors as the loop sees them.
    """

    def __init__(
        self,
        config: Config,
        world: World,
        shards: int,
        held: range,
        architecture: Architecture,
        parameters: Array,
    ) -> None:
        prints = set(world.gather_bytes(fingerprint(config.dtype)))
        blas = len(prints) == 1 and b"" not in prints  # else processors differ, and the replicas would, too
        length = parameters.size + TAIL
        self.reduce: Reduction
        if config.deterministic:
            self.reduce = Deterministic(world, shards, held, length, config.dtype)
        else:
            sizes = [view.size for view in architecture.views(parameters)]
            self.reduce = native(world, sizes, length, config.dtype, config.bucket_mb)
        self.sums = Sums(self.reduce, architecture)
        self.optimizer: Optimizer = OPTIMIZERS[config.optimizer](parameters, config.momentum, config.nesterov, blas)
