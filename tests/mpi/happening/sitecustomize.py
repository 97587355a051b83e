"""Something happens to a rank of a training that `nnmpi launch` started: Python imports this file when it starts.

HAPPENS holds words: WHAT UPDATE RANK TIMES, as for `disturbed`, or WHAT is ``raise``. It happens TIMES times at most
over all attempts, which are counted in the file HAPPENED.
"""

import os
import sys
from pathlib import Path

rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK")

if rank and "HAPPENS" in os.environ:
    sys.path.append(str(Path(__file__).parents[1]))
    import numpy as np
    from unhurried import wait_for_checkpoints

    from nnmpi.nn.optimizers import SGD

    what, update, victim, times = os.environ["HAPPENS"].split()
    happened = Path(os.environ["HAPPENED"])
    original_update = SGD.update

    def disturbed_update(self: SGD, gradient: np.ndarray, *, k: int, **numbers: float) -> None:
        if k == int(update) and rank == victim and happened.stat().st_size < int(times):
            with happened.open("a") as file:
                file.write("x")
            if what == "raise":
                raise ValueError("something is wrong")
            os.kill(os.getpid(), int(what))
        original_update(self, gradient, k=k, **numbers)

    SGD.update = disturbed_update  # type: ignore[method-assign]
    wait_for_checkpoints()
