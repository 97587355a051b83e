"""A training to which something happens: ``disturbed.py WHAT UPDATE RANK nnmpi-arguments…``.

Before update number UPDATE, rank RANK gets a signal (WHAT is its number), a bit flips in the last of its parameters
(``flip``), or no file that it writes may be larger than 1 MB from then on (``full``), which stands for
a full disk, or it takes a minute's rest (``sleep``), or stops for a second (``pause``). Checkpoints are waited for, so
that a slow disk does not decide which of them there are.
"""

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import sklearn.model_selection  # noqa: F401 (before MPI: on a busy machine it takes the ranks unequally long)
from unhurried import wait_for_checkpoints

import nnmpi.cli
from nnmpi.mpi.world import World
from nnmpi.nn.optimizers import SGD

what, update, rank = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
original_update, original_init = SGD.update, World.__init__
here = -1


def init(self: World, mpi: object) -> None:
    global here
    original_init(self, mpi)
    here = self.rank


def disturbed_update(self: SGD, gradient: np.ndarray, *, k: int, **numbers: float) -> None:
    if k == update and here == rank:
        if what == "flip":
            self._parameters[-1:].view(np.uint8)[0] ^= 1
        elif what == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        elif what == "sleep":
            time.sleep(60)
        elif what == "pause":
            subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -CONT {os.getpid()}"])
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            os.kill(os.getpid(), int(what))
    original_update(self, gradient, k=k, **numbers)


wait_for_checkpoints()
World.__init__ = init  # type: ignore[method-assign]
SGD.update = disturbed_update  # type: ignore[method-assign]
nnmpi.cli.main(sys.argv[4:])
