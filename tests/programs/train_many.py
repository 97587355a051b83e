"""Runs several trainings in one job, so that MPI starts only once: ``train_many.py [plain|messages] JSON``.

JSON is a list of command lines. With ``plain``, a sum in the order of the ranks replaces the deterministic reduction.
With ``messages``, the deterministic reduction does not use shared memory, as on several hosts.
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


def use_plain_allreduce(world: World) -> None:
    prepare = Deterministic.__init__

    def init(self: Deterministic, world: World, shards: int, held: range, *options: Any) -> None:
        prepare(self, world, shards, held, *options)
        self.roots = self.vectors[: len(subtrees((0, shards), held))]

    def reduce(self: Deterministic) -> None:
        for root in self.roots[1:]:
            np.add(self.vectors[0], root, out=self.vectors[0])
        world.comm.Allreduce(world.mpi.IN_PLACE, self.vectors[0])

    Deterministic.__init__, Deterministic.reduce = init, reduce  # type: ignore[method-assign]


def work(world: World) -> None:
    if sys.argv[1] == "plain":
        use_plain_allreduce(world)
    if sys.argv[1] == "messages":
        nnmpi.reduction.tree.share = lambda *arguments: None  # type: ignore[assignment]
    nnmpi.cli.ranks.run = lambda command: command(world) or 0  # type: ignore[assignment]
    for arguments in json.loads(sys.argv[-1]):
        nnmpi.cli.cli.main(arguments, standalone_mode=False)


sys.exit(run(work))
