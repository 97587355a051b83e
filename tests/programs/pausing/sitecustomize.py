"""A training that pauses: Python imports this file when it starts, if its directory is on PYTHONPATH.

Before update PAUSE_AT, every rank leaves a file PAUSE_FILE.RANK and waits until PAUSE_FILE exists, or a signal comes.
"""

import os
import select
import signal
from pathlib import Path
from typing import Any

rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK")

if rank and "PAUSE_FILE" in os.environ:
    from nnmpi.nn.optimizers import SGD

    at, file = int(os.environ["PAUSE_AT"]), Path(os.environ["PAUSE_FILE"])
    update = SGD.update

    def update_after_pause(self: SGD, *arguments: Any, **keywords: Any) -> None:
        global at
        at -= 1
        if at == 0:
            pause()
        update(self, *arguments, **keywords)

    def pause() -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        file.with_suffix(f".{rank}").touch()
        while not file.exists() and not select.select([read], [], [], 0.05)[0]:
            pass
        signal.set_wakeup_fd(-1)

    SGD.update = update_after_pause  # type: ignore[method-assign]
