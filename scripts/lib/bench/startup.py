"""Wall time of the whole command: digits, 10 epochs, 2 ranks, from the launcher's start to its end."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import figure, in_turn, ratio
from ours import mpiexec, train, whole
from peers import PROGRAMS, digits_file, torchrun


def measure(rounds: int, peers: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure both programs in alternation; the first run of each, which fills the disk cache, does not count."""
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)

        def ours() -> float:
            shutil.rmtree(scratch / "runs", ignore_errors=True)
            return whole(*mpiexec(2, *train("--data", "digits", "--epochs", "10")), cwd=scratch)

        measurements: dict[str, Callable[[], Any]] = {"nnmpi": ours}
        if peers:
            program = [str(PROGRAMS / "digits_ddp.py"), str(digits_file(scratch))]
            measurements["PyTorch DDP"] = lambda: whole(*torchrun(2), *program, cwd=scratch)
        say(f"the whole command on digits: {rounds} rounds")
        results = in_turn(rounds + 1, measurements, say)
    seconds = {
        name: {"failed": values} if isinstance(values, str) else figure(values[1:], "only the first run succeeded")
        for name, values in results.items()
    }
    times = {"PyTorch DDP": ratio(seconds["PyTorch DDP"], seconds["nnmpi"])} if peers else {}
    return {"seconds": seconds, "times nnmpi": times}
