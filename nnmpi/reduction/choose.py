"""How the ranks of a run bring together what each has found: which reduction, and who updates what."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from nnmpi.config import Config
from nnmpi.memory import Allocate, aligned
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.blas import add_product, fingerprint
from nnmpi.nn.layers import WIDE
from nnmpi.nn.optimizers import OPTIMIZERS, SGD, Optimizer
from nnmpi.reduction.allreduce import native
from nnmpi.reduction.divided import Divided, divided
from nnmpi.reduction.helping import helping
from nnmpi.reduction.one_host import Slices
from nnmpi.reduction.protocol import Array, Reduction
from nnmpi.reduction.step_vector import TAIL, Sums
from nnmpi.reduction.tree import Deterministic


class Exchange:
    """What a rank reduces and updates with; all ranks make it together.

    Attributes
    ----------
    parameters : array
        This rank's replica: the array it was made with, or one in shared memory.
    reduce, optimizer
        What each step calls, in this order; between the two `sums` are there.
    sums : Sums
        The reduction's vectors as the loop sees them.
    allocate, offer
        For `Batches` and `Network.bind`: memory, and where the first layer's gradient is offered to others, if it is.
    gathered
        The context in which rank 0 has all of ``optimizer.state``; all ranks enter it together, between two steps.
    """

    def __init__(
        self,
        config: Config,
        world: World,
        shards: int,
        held: range,
        architecture: Architecture,
        parameters: Array,
        single_threaded: bool,
    ) -> None:
        prints = set(world.gather_bytes(fingerprint(config.dtype)))
        blas = len(prints) == 1 and b"" not in prints  # else processors differ, and the replicas would, too
        length = parameters.size + TAIL
        self.parameters = parameters
        self.reduce: Reduction
        self.allocate: Allocate = aligned
        self.offer: Callable[[Array, Array, Array], Callable[[], object]] | None = None
        self.gathered: Callable[[], AbstractContextManager[None]] = nullcontext
        self._divided: Divided | None = None
        if config.deterministic:
            self.reduce = Deterministic(world, shards, held, length, config.dtype)
        else:
            sizes = [view.size for view in architecture.views(parameters)]
            self.reduce = native(world, sizes, length, config.dtype, config.bucket_mb)
            if isinstance(self.reduce, Slices):
                slices: Slices | Divided = self.reduce
                # Adam's state is too long to be gathered in a gradient; L2 is added to sums, which then nobody sees
                if config.optimizer == "sgd" and not config.l2:
                    sgd = partial(SGD, momentum=config.momentum, nesterov=config.nesterov, blas=blas)
                    self._divided = divided(world, self.reduce, parameters, sgd)
                if self._divided:
                    self.reduce = slices = self._divided
                    self.parameters, self.gathered = self._divided.parameters, self._divided.gathered
                worth = single_threaded and len(sizes) > 1 and sizes[0] >= WIDE
                helped = helping(world, slices, add_product, worth)
                if helped:
                    self.reduce, self.allocate, self.offer = helped, helped.allocate, helped.offer
        self.sums = Sums(self.reduce, architecture, self._divided.tail if self._divided else None)
        self.optimizer: Optimizer | Divided = self._divided or OPTIMIZERS[config.optimizer](
            parameters, config.momentum, config.nesterov, blas
        )

    def replicas(self, architecture: Architecture) -> dict[str, Array]:
        """What all ranks have, and all alike, by name."""
        found = {f"layers.{i}": view for i, view in enumerate(architecture.views(self.parameters))}
        return found if self._divided else found | {"the optimizer's state": self.optimizer.state}

    def scatter(self) -> None:
        """Take over what was written to ``optimizer.state``, all of it on each rank."""
        if self._divided:
            self._divided.scatter()
