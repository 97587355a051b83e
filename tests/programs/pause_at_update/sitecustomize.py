"""Pauses a training. Python imports this file when it starts, if its directory is on PYTHONPATH.

Before update PAUSE_AT, counted from 1, every rank creates the file PAUSE_FILE.RANK. Then it waits until PAUSE_FILE
exists or a signal comes.
"""

import os
import select
import signal
import sys
from pathlib import Path

if "PAUSE_FILE" in os.environ and {"OMPI_COMM_WORLD_RANK", "PMI_RANK"} & {*os.environ}:
    sys.path.append(str(Path(__file__).parents[1]))
    import places

    pause_at, pause_file = int(os.environ["PAUSE_AT"]), Path(os.environ["PAUSE_FILE"])

    def pause(*arguments: object, k: int, **numbers: object) -> None:
        if k + 1 != pause_at:  # k counts from 0
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        pause_file.with_suffix(f".{places.rank()}").touch()
        while not pause_file.exists() and not select.select([read], [], [], 0.05)[0]:
            pass
        signal.set_wakeup_fd(-1)

    places.before("update", pause)
