"""Something happens to a rank of a training that `nnmpi launch` started: Python imports this file when it starts.

HAPPENS holds words: WHAT UPDATE RANK TIMES, as for `train_with_fault`, or WHAT is ``raise``. It happens TIMES times at
most over all attempts, which are counted in the file HAPPENED.
"""

import os
import sys
from pathlib import Path

if "HAPPENS" in os.environ and {"OMPI_COMM_WORLD_RANK", "PMI_RANK"} & {*os.environ}:
    sys.path.append(str(Path(__file__).parents[1]))
    import places

    what, update, victim, times = os.environ["HAPPENS"].split()
    happened = Path(os.environ["HAPPENED"])

    def happen(*arguments: object, k: int, **numbers: object) -> None:
        if k == int(update) and places.rank() == victim and happened.stat().st_size < int(times):
            with happened.open("a") as file:
                file.write("x")
            if what == "raise":
                raise ValueError("something is wrong")
            os.kill(os.getpid(), int(what))

    places.before("update", happen)
    places.wait_for_checkpoints()
