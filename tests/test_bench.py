"""scripts/bench measures, and its tables agree with its JSON. The tests leave out the peers."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import ROOT, Job, descendants, run

BENCH = ROOT / "scripts" / "lib" / "bench"
UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}


def rows(markdown: str, title: str) -> dict[str, list[str]]:
    """Return the rows of the first table below the heading that begins with `title`, by their first cell."""
    below = markdown[markdown.index(f"\n### {title}") :]
    lines = re.findall(r"^\| (.*) \|$", below, re.MULTILINE)
    table = [line.split(" | ") for line in lines]
    return {
        cells[0]: cells[1:] for cells in table[: next((i for i, c in enumerate(table[2:], 2) if c[1] == "---"), None)]
    }


def seconds(cell: str) -> list[float]:
    """``1.23 ms (968 µs to 1.50 ms)`` → median, lowest, highest."""
    return [float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (µs|ms|s)\b", cell)]


def agrees(cell: str, figure: dict[str, Any]) -> bool:
    return seconds(cell) == pytest.approx([figure["median"], figure["low"], figure["high"]], rel=6e-3)


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.more("a benchmark that takes minutes and that nothing depends on")
def test_all_parts_are_measured_and_tabulated(tmp_path: Path) -> None:
    bench = [sys.executable, str(BENCH), "--quick", "--no-peers", "--rounds", "2"]
    done = run([*bench, "--output", str(tmp_path / "bench")], tmp_path, timeout=1200).succeeded()
    results = json.loads((tmp_path / "bench" / "bench.json").read_text())
    markdown = (tmp_path / "bench" / "bench.md").read_text()
    assert done.out.strip() == markdown.strip()
    assert "failed" not in markdown, done.err

    (name, network), *_ = results["steps"].items()
    assert name == "64-128-64-10 (64)"
    assert all(len(figure["values"]) == 2 for figure in network["seconds"].values())
    values = network["seconds"]["nnmpi, 2 ranks"]["values"]
    limits = network["seconds"]["limit"]["values"]
    limit_ratios = [limit / step for limit, step in zip(limits, values, strict=True)]
    two, launched, limit, launch_ratio, limit_ratio, in_one_loop, with_update = rows(markdown, "A step, 2 ranks")[name]
    assert agrees(launched, network["seconds"]["nnmpi launch, 2 ranks"])
    pairs = zip(network["seconds"]["nnmpi launch, 2 ranks"]["values"], values, strict=True)
    assert float(launch_ratio.split()[0]) == pytest.approx(sum(a / b for a, b in pairs) / 2, abs=0.051)
    assert agrees(two, network["seconds"]["nnmpi, 2 ranks"])
    assert seconds(two)[0] == pytest.approx(sum(values) / 2, rel=6e-3)
    assert agrees(limit, network["seconds"]["limit"])
    assert float(limit_ratio.split()[0]) == pytest.approx(sum(limit_ratios) / 2, abs=0.051)
    loops = [loop / step for loop, step in zip(network["alone"]["together"]["values"], values, strict=True)]
    assert float(in_one_loop.split()[0]) == pytest.approx(sum(loops) / 2, abs=0.051)
    loops = [loop / step for loop, step in zip(network["alone"]["updating"]["values"], values, strict=True)]
    assert float(with_update.split()[0]) == pytest.approx(sum(loops) / 2, abs=0.051)
    (one,) = rows(markdown, "A step, one process")[name]
    assert agrees(one, network["seconds"]["nnmpi, 1 rank"])
    (scaling,) = rows(markdown, "Weak scaling")[name]
    assert float(scaling.split()[0]) == pytest.approx(network["weak scaling"]["nnmpi"]["median"], abs=0.051)

    one, two, launched, *speeds = rows(markdown, "Strong scaling")["128"]
    assert agrees(two, results["sharing"]["128"]["seconds"]["2 ranks"])
    assert float(speeds[0].split()[0]) == pytest.approx(
        results["sharing"]["128"]["speed"]["2 ranks"]["median"], abs=0.051
    )

    assert agrees(rows(markdown, "The whole command")["nnmpi"][0], results["startup"]["seconds"]["nnmpi"])
    (digits,) = rows(markdown, "Peak memory")["digits, 2 ranks"]
    assert digits == f"{results['memory']['digits']['peak']:.0f} MB"
    assert 30 < results["memory"]["digits"]["peak"] < 1000
    for point in results["growth"]["parameters"]:
        assert agrees(rows(markdown, "How the time")[f"{point['at']:,}"][0], point["step"])


@pytest.mark.slow
def test_what_cannot_be_measured_is_a_line_and_no_end(tmp_path: Path) -> None:
    """For a peer that fails, hangs or is missing, the table has the reason. The others are measured in all rounds."""
    (tmp_path / "fails").write_text("raise ValueError('no | luck')")
    (tmp_path / "hangs").write_text(
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '120'], start_new_session=True)\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "time.sleep(120)\n"
    )
    (tmp_path / "works").write_text("print('a result')")
    (tmp_path / "measure.py").write_text(
        f"import sys; sys.path.insert(0, {str(BENCH)!r})\n"
        "import json, figures, processes, table\n"
        "programs = {name: [sys.executable, name] for name in ('fails', 'works', 'hangs')}\n"
        "programs['is not there'] = ['./none']\n"
        "def measurement(name):\n"
        "    timeout = 3.0 if name == 'hangs' else 60.0\n"
        "    return lambda: {'step': len(processes.run(programs[name], timeout)) / 18}\n"
        "results = figures.in_turn(3, {name: measurement(name) for name in programs}, lambda text: None)\n"
        "print(json.dumps({name: table.cell(figures.of(results[name], 'step'), table.seconds) for name in programs}))\n"
    )
    cells = json.loads(run([sys.executable, "measure.py"], tmp_path).succeeded().out)
    assert cells["works"] == "500 ms (500 ms to 500 ms)"
    assert cells["fails"] == "failed: ValueError: no / luck"
    assert cells["hangs"] == "failed: not done after 3 s"
    assert cells["is not there"].startswith("failed: ")
    if (tmp_path / "child").exists():  # on a slow machine, the program may have been killed before it started its child
        assert not runs(int((tmp_path / "child").read_text()))


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    with Job([sys.executable, str(BENCH), "--quick", "--no-peers", "--output", "out"], tmp_path) as job:
        started = wait_for(lambda: len(processes := descendants(job.process.pid)) >= 3 and processes)
        os.kill(job.process.pid, number)
        assert job.wait().status == 128 + number
        wait_for(lambda: not any(map(runs, started)))


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until `condition` returns a true value, and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def runs(pid: int) -> bool:
    """Return whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
