"""Under random faults, a run ends in one of the promised ways. ``--chaos-runs 300`` tries many faults."""

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
    deterministic, native = train(*TRAIN[1:], "--deterministic"), train(*TRAIN[1:])
    reports = [json.loads(line) for line in done.out.splitlines()]
    assert len(reports) == runs
    for report in reports:
        check(report, native if report["kind"] == "native" else deterministic)


def check(report: dict[str, Any], reference: Run) -> None:
    """Check that a run of `disturb_at_random` ended in one of the promised ways."""
    assert not report["hung"], report
    assert "Traceback" not in report["err"], report
    assert report["finished"], report
    assert report["epochs"] == [[epoch, SAMPLES] for epoch in range(1, EPOCHS + 1)], report
    if report["kind"] == "end":
        assert report["ended"] < SOON, report
        assert report.get("resumed", 0) == 0, report  # the run may have finished before the kill
    else:
        assert report["status"] == 0, report
        assert report["world_size"][0] >= 4 - report["deaths"], report
    if report["kind"] == "native":
        expected, actual = reference.last_line.split()[2], report["last"][0].split()[2]
        assert abs(float(expected.rstrip(",")) - float(actual.rstrip(","))) <= 1 / 360 + 1e-4, report
    else:
        assert report["last"] == [reference.last_line], report
        model = (reference.directory / "model.safetensors").read_bytes()
        assert report["sha256"] == hashlib.sha256(model).hexdigest(), report
    remaining = [pid for pid in report["pids"] if Path(f"/proc/{pid}").exists()]
    assert not remaining, report
