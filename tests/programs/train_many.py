"""Several trainings in one job, which saves starting MPI for each: ``train_many.py [HOW] JSON``, command lines.

With HOW ``plain`` the deterministic reduction is replaced by what it must not be, a sum in the order of the ranks. With
``messages`` it does not use shared memory, as on several hosts.
"""

import json
import sys
from typing import Any

import numpy as np

import nnmpi.cli.ranks
import nnmpi.reduction.tree
from nnmpi.commands.job import run
from nnmpi.mpi.world import World
from nnmpi.reduction.tree import Deterministic, subtrees


def make_plain(world: World) -> None:
    prepare = Deterministic.__init__

    def init(self: Deterministic, world: World, shards: int, held: range, *more: Any) -> None:
        prepare(self, world, shards, held, *more)
        self.roots = self.vectors[: len(subtrees((0, shards), held))]

    def reduce(self: Deterministic) -> None:
        for root in self.roots[1:]:
            np.add(self.vectors[0], root, out=self.vectors[0])
        world.comm.Allreduce(world.mpi.IN_PLACE, self.vectors[0])

    Deterministic.__init__, Deterministic.reduce = init, reduce  # type: ignore[method-assign]


def work(world: World) -> None:
    if sys.argv[1] == "plain":
        make_plain(world)
    if sys.argv[1] == "messages":
        nnmpi.reduction.tree.share = lambda *arguments: None  # type: ignore[assignment]
    nnmpi.cli.ranks.run = lambda command: command(world) or 0  # type: ignore[assignment]
    for arguments in json.loads(sys.argv[-1]):
        nnmpi.cli.cli.main(arguments, standalone_mode=False)


sys.exit(run(work))
