"""Kills a training with a checkpoint at every step many times: ``kill_at_checkpoints.py KILLS SEED DIRECTORY``.

Each training is a forked child, for speed. It resumes the run, and is killed at a random moment after it has written a
checkpoint. For each kill the program prints a JSON object: the update of the newest checkpoint before the child
started, the newest complete update after the kill, the update of the newest checkpoint that can be read, and the
child's output.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import sklearn.datasets
import sklearn.model_selection  # noqa: F401

import nnmpi.commands.train  # noqa: F401 (imported here once, not in each child)
from nnmpi.cli import main
from nnmpi.files.checkpoint import newest

kills, seed, directory = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
TRAIN = ("train", "--data", "iris", "--hidden", "4", "--epochs", "1000000", "--resume", "--checkpoint-every", "1steps")
checkpoints = directory / "run/checkpoints"
generator = random.Random(seed)


def updates() -> set[int]:
    return {int(path.stem) for path in checkpoints.glob("*.json")}


def start() -> int:
    pid = os.fork()
    if pid == 0:
        output = os.open(directory / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        main([*TRAIN, "--output", str(directory / "run")])
    return pid


for _ in range(kills):
    before = max(updates(), default=0)
    pid = start()
    deadline = time.monotonic() + 120
    while max(updates(), default=0) <= before:  # until the child has written a checkpoint
        assert os.waitpid(pid, os.WNOHANG)[0] == 0, (directory / "output").read_text()
        assert time.monotonic() < deadline, "no checkpoint in 120 s"
        time.sleep(0.001)
    time.sleep(generator.uniform(0, 0.05))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    checkpoint, damaged = newest(checkpoints)
    report = {"before": before, "complete": max(updates()), "newest": checkpoint and checkpoint.progress.update}
    print(json.dumps({**report, "damaged": damaged, "said": (directory / "output").read_text()}), flush=True)
