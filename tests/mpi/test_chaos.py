"""Whatever happens to the ranks, a run ends in one of the promised ways; ``--chaos-runs 300`` for many of them."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import Run, needed, program_path, run
from programs.disturb_at_random import PATIENCE, TRAIN

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

EPOCHS, SAMPLES = 12, 1437
SOON = 40.0  # seconds from a kill to the end of the job


def test_chaos(train: Callable[..., Run], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    needed("openmpi")
    needed("mpich")
    runs = request.config.getoption("--chaos-runs")
    done = run(
        [sys.executable, program_path("disturb_at_random.py"), str(runs), "0", str(tmp_path)],
        tmp_path,
        timeout=runs * PATIENCE,
    ).succeeded()
    exact, native = train(*TRAIN[1:], "--deterministic"), train(*TRAIN[1:])
    told = [json.loads(line) for line in done.out.splitlines()]
    assert len(told) == runs
    for one in told:
        check(one, native if one["kind"] == "native" else exact)


def check(one: dict[str, Any], straight: Run) -> None:
    """What `one` run of `disturb_at_random` told is one of the promised ends."""
    assert not one["hung"], one
    assert "Traceback" not in one["err"], one
    assert one["finished"], one
    assert one["epochs"] == [[epoch, SAMPLES] for epoch in range(1, EPOCHS + 1)], one
    if one["kind"] == "end":
        assert one["ended"] < SOON, one
        assert one.get("resumed", 0) == 0, one  # it may have been done before the kill
    else:
        assert one["status"] == 0, one
        assert one["world_size"][0] >= 4 - one["deaths"], one
    if one["kind"] == "native":
        before, after = straight.last_line.split()[2], one["last"][0].split()[2]
        assert abs(float(before.rstrip(",")) - float(after.rstrip(","))) <= 1 / 360 + 1e-4, one
    else:
        assert one["last"] == [straight.last_line], one
        model = (straight.directory / "model.safetensors").read_bytes()
        assert one["sha256"] == hashlib.sha256(model).hexdigest(), one
    left = [pid for pid in one["pids"] if Path(f"/proc/{pid}").exists()]
    assert not left, one
