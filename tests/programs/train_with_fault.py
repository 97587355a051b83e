"""A training to which something happens: ``train_with_fault.py WHAT UPDATE RANK nnmpi-arguments…``.

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
from typing import Any

import numpy as np
import places

import nnmpi.cli

what, update, victim = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def happen(optimizer: Any, gradient: object, *, k: int, **numbers: float) -> None:
    if k != update or places.rank() != victim:
        return
    if what == "flip":
        optimizer._parameters[-1:].view(np.uint8)[0] ^= 1
    elif what == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    elif what == "sleep":
        time.sleep(60)
    elif what == "pause":
        subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        os.kill(os.getpid(), int(what))


places.wait_for_checkpoints()
places.before("update", happen)
nnmpi.cli.main(sys.argv[4:])
