"""Disturbs trainings at random, and prints one JSON object each: ``disturb_at_random.py RUNS SEED DIRECTORY [KIND…]``.

A run depends only on its seed, so a failed run can be repeated: ``disturb_at_random.py 1 SEED DIRECTORY``. The expected
results are in ``test_chaos.py``.

survive    4 ranks with fault tolerance; one to three are killed with SIGKILL, some are stopped and continued
native     the same without --deterministic
single     like survive, with one death; single-native: like native, with one death
end        3 ranks without fault tolerance, Open MPI or MPICH; one is killed; then --resume on 1, 2 or 4 ranks
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
    """Wait until MPI has started on all ranks; return their pids, or nothing if the job ended before."""
    while job.process.poll() is None and time.monotonic() < job.started + PATIENCE:
        files = {rank: directory / f"up-{rank}" for rank in range(ranks)}
        if all(file.exists() for file in files.values()):
            return {rank: int(file.read_text()) for rank, file in files.items()}
        time.sleep(0.005)
    return {}


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def disturb(generator: random.Random, job: Job, directory: Path, pids: dict[int, int], deaths: int) -> list[float]:
    """Kill `deaths` ranks at random moments, and sometimes stop a rank for a while; return when each was killed."""
    during_start = generator.random() < 0.3
    while not during_start and job.process.poll() is None and not (directory / "run/metrics.jsonl").exists():
        time.sleep(0.005)
    time.sleep(generator.uniform(0, 0.5))
    killed = []
    for victim in generator.sample(sorted(pids), deaths):
        if generator.random() < 0.3:
            stopped = generator.choice(sorted(pids))
            send(pids[stopped], signal.SIGSTOP)
            time.sleep(generator.uniform(0, 0.2))
            send(pids[stopped], signal.SIGCONT)
        killed.append(time.monotonic())
        send(pids[victim], signal.SIGKILL)
        time.sleep(generator.choice((0, generator.uniform(0, 0.3))))
    return killed


def disturbed_run(kind: str, seed: int, directory: Path) -> dict[str, Any]:
    generator = random.Random(seed)
    available = environments()
    mpi = available["openmpi"] if kind != "end" else available[generator.choice(sorted(available))]
    ranks = 3 if kind == "end" else 4
    deaths = 1 if kind in ("end", "single", "single-native") else generator.choice((1, 1, 1, 2, 3))
    flags = () if "native" in kind else ("--deterministic",)
    report: dict[str, Any] = {"kind": kind, "seed": seed, "mpi": mpi.mpi, "deaths": deaths, "hung": False}
    with Job(command(mpi, ranks, *flags, tolerant=kind != "end"), directory) as job:
        pids = wait_until_up(job, directory, ranks)
        killed = disturb(generator, job, directory, pids, deaths) if pids else []
        try:
            report["status"] = job.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            report["hung"] = True
        report["ended"] = round(time.monotonic() - killed[-1], 3) if killed else None
        out, err = job.output()
        report |= {"pids": list(pids.values()), "err": err, "last": out.splitlines()[-1:]}
    if kind == "end" and report.get("status") and not report["hung"]:
        for file in directory.glob("up-*"):
            file.unlink()
        with Job(command(mpi, generator.choice((1, 2, 4)), *flags, "--resume"), directory) as job:
            done = job.wait(PATIENCE)
        report |= {"resumed": done.status, "last": done.out.splitlines()[-1:]}
    for file in directory.glob("recovered-*"):
        report.setdefault("recovery", []).extend(map(float, file.read_text().split()))
    if killed and "recovery" in report:
        report["recovery"] = round(max(report["recovery"]) - killed[-1], 4)
    if (directory / "run/config.json").exists():
        report["finished"] = json.loads((directory / "run/config.json").read_text())["finished"]
        report["epochs"] = [(m["epoch"], m["samples"]) for m in read_metrics(directory / "run")]
        report["world_size"] = [m["world_size"] for m in read_metrics(directory / "run")][-1:]
    if (directory / "run/model.safetensors").exists():
        report["sha256"] = hashlib.sha256((directory / "run/model.safetensors").read_bytes()).hexdigest()
    return report


def main() -> None:
    runs, first, directory = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    kinds = sys.argv[4:] or KINDS
    for seed in range(first, first + runs):
        run_directory = directory / str(seed)
        shutil.rmtree(run_directory, ignore_errors=True)
        run_directory.mkdir(parents=True)
        print(json.dumps(disturbed_run(kinds[seed % len(kinds)], seed, run_directory)), flush=True)
        shutil.rmtree(run_directory)


if __name__ == "__main__":
    main()
