"""Injects a fault into a rank of a training that `nnmpi launch` started. Python imports this file when it starts.

The variable FAULT holds four words: KIND UPDATE RANK TIMES. KIND is the number of a signal, or ``raise`` for an
exception. The fault happens before update UPDATE on rank RANK, at most TIMES times over all attempts. The file
FAULT_COUNT counts them.
"""

import os
import sys
from pathlib import Path

if "FAULT" in os.environ and {"OMPI_COMM_WORLD_RANK", "PMI_RANK"} & {*os.environ}:
    sys.path.append(str(Path(__file__).parents[1]))
    import places

    fault, update, victim, times = os.environ["FAULT"].split()
    count_file = Path(os.environ["FAULT_COUNT"])

    def inject(*arguments: object, k: int, **numbers: object) -> None:
        if k == int(update) and places.rank() == victim and count_file.stat().st_size < int(times):
            with count_file.open("a") as file:
                file.write("x")
            if fault == "raise":
                raise ValueError("something is wrong")
            os.kill(os.getpid(), int(fault))

    places.before("update", inject)
    places.wait_for_checkpoints()
