"""Random disturbances of trainings, one JSON object for each: ``disturb_at_random.py RUNS SEED DIRECTORY [KIND…]``.

A run is drawn from its seed alone, so that one that went wrong can be done again: ``disturb_at_random.py 1 SEED
DIRECTORY``. What has to come out stands in ``test_chaos.py``.

survive    4 ranks with fault tolerance; one to three are killed -9, some are stopped and continued
native     the same without --deterministic
single     like survive, with one death; single-native like native
end        3 ranks without fault tolerance, Open MPI or MPICH; one is killed; then --resume on 1 to 4 ranks
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from jobs import Environment, Job, environments, program_path, read_metrics

TRAIN = ("train", "--epochs", "12", "--hidden", "32", "--dropout", "0.1", "--checkpoint-every", "30steps")
PATIENCE = 180.0  # seconds until a run counts as hung; it takes about three on a quiet machine
KINDS = ("survive", "survive", "native", "end")


def command(mpi: Environment, ranks: int, *flags: str, tolerant: bool = False) -> list[str]:
    ft = ["--with-ft", "ulfm"] if tolerant else []
    python = [mpi.program("python"), program_path("train_observed.py"), *TRAIN, *flags, "--output", "run"]
    return [mpi.program("mpiexec"), *ft, "-n", str(ranks), *python]


def wait_until_up(job: Job, directory: Path, ranks: int) -> dict[int, int]:
    """The pids of all ranks once MPI has started everywhere."""
    while job.process.poll() is None and time.monotonic() < job.started + PATIENCE:
        files = {rank: directory / f"up-{rank}" for rank in range(ranks)}
        if all(file.exists() for file in files.values()):
            return {rank: int(file.read_text()) for rank, file in files.items()}
        time.sleep(0.005)
    return {}


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def disturb(draw: random.Random, job: Job, directory: Path, pids: dict[int, int], deaths: int) -> list[float]:
    """Kill some ranks at random moments, and now and then stop one for a while; returns when each was killed."""
    start = draw.random() < 0.3
    while not start and job.process.poll() is None and not (directory / "run/metrics.jsonl").exists():
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.5))
    killed = []
    for victim in draw.sample(sorted(pids), deaths):
        if draw.random() < 0.3:
            other = draw.choice(sorted(pids))
            send(pids[other], signal.SIGSTOP)
            time.sleep(draw.uniform(0, 0.2))
            send(pids[other], signal.SIGCONT)
        killed.append(time.monotonic())
        send(pids[victim], signal.SIGKILL)
        time.sleep(draw.choice((0, draw.uniform(0, 0.3))))
    return killed


def one(kind: str, seed: int, directory: Path) -> dict[str, Any]:
    draw = random.Random(seed)
    found = environments()
    mpi = found["openmpi"] if kind != "end" else found[draw.choice(sorted(found))]
    ranks = 3 if kind == "end" else 4
    deaths = 1 if kind in ("end", "single", "single-native") else draw.choice((1, 1, 1, 2, 3))
    flags = () if "native" in kind else ("--deterministic",)
    told: dict[str, Any] = {"kind": kind, "seed": seed, "mpi": mpi.mpi, "deaths": deaths, "hung": False}
    with Job(command(mpi, ranks, *flags, tolerant=kind != "end"), directory) as job:
        pids = wait_until_up(job, directory, ranks)
        killed = disturb(draw, job, directory, pids, deaths) if pids else []
        try:
            told["status"] = job.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            told["hung"] = True
        told["ended"] = round(time.monotonic() - killed[-1], 3) if killed else None
        out, err = job.output()
        told |= {"pids": list(pids.values()), "err": err, "last": out.splitlines()[-1:]}
    if kind == "end" and told.get("status") and not told["hung"]:
        for file in directory.glob("up-*"):
            file.unlink()
        with Job(command(mpi, draw.choice((1, 2, 4)), *flags, "--resume"), directory) as job:
            done = job.wait(PATIENCE)
        told |= {"resumed": done.status, "last": done.out.splitlines()[-1:]}
    for file in directory.glob("recovered-*"):
        told.setdefault("recovery", []).extend(map(float, file.read_text().split()))
    if killed and "recovery" in told:
        told["recovery"] = round(max(told["recovery"]) - killed[-1], 4)
    if (directory / "run/config.json").exists():
        told["finished"] = json.loads((directory / "run/config.json").read_text())["finished"]
        told["epochs"] = [(m["epoch"], m["samples"]) for m in read_metrics(directory / "run")]
        told["world_size"] = [m["world_size"] for m in read_metrics(directory / "run")][-1:]
    if (directory / "run/model.safetensors").exists():
        told["sha256"] = hashlib.sha256((directory / "run/model.safetensors").read_bytes()).hexdigest()
    return told


def main() -> None:
    runs, first, directory = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    kinds = sys.argv[4:] or KINDS
    for seed in range(first, first + runs):
        here = directory / str(seed)
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        print(json.dumps(one(kinds[seed % len(kinds)], seed, here)), flush=True)
        shutil.rmtree(here)


if __name__ == "__main__":
    main()
