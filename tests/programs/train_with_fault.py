"""A training with a fault: ``train_with_fault.py FAULT UPDATE RANK nnmpi-arguments…``.

The fault happens on rank RANK before update number UPDATE. FAULT is one of:

a number   the rank gets this signal
flip       a bit of its last parameter flips
full       from now on it cannot write files larger than 1 MB, as on a full disk
sleep      it sleeps for a minute
pause      it is stopped for a second

Training waits for each checkpoint. Otherwise a slow disk decides which checkpoints are written.
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

fault, update, victim = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def inject(optimizer: Any, gradient: object, *, k: int, **numbers: float) -> None:
    if k != update or places.rank() != victim:
        return
    if fault == "flip":
        optimizer._parameters[-1:].view(np.uint8)[0] ^= 1
    elif fault == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    elif fault == "sleep":
        time.sleep(60)
    elif fault == "pause":
        subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        os.kill(os.getpid(), int(fault))


places.wait_for_checkpoints()
places.before("update", inject)
nnmpi.cli.main(sys.argv[4:])
