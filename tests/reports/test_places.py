"""Directories that are missing or not writable do no harm if they are not needed. Otherwise: one line, status 2."""

# reported as CellBender 241, OpenTau 502: results were written to unexpected directories

import os
import subprocess
from pathlib import Path

import pytest
from jobs import CommandServer, needed, variables
from sklearn.datasets import load_iris


def shell(script: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = variables(N=needed("openmpi").program("nnmpi"), **extra)
    return subprocess.run(
        ["bash", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.mark.parametrize("setting", ["unset HOME", "export HOME=/missing", "export TMPDIR=/missing"])
@pytest.mark.parametrize("command", ["train --data iris --epochs 1", "info"])
def test_places_that_nothing_needs(setting: str, command: str, tmp_path: Path) -> None:
    done = shell(f"{setting}; $N {command}", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done


@pytest.mark.parametrize("command", ["train --data iris", "evaluate model", "info", "launch -n 2 -- train"])
def test_removed_working_directory(command: str, tmp_path: Path) -> None:
    done = shell(f"mkdir gone && cd gone && rmdir ../gone && $N {command}", tmp_path)
    assert "Traceback" not in done.stderr, done
    assert done.returncode == 2
    assert done.stderr == (
        "nnmpi: the working directory cannot be used (No such file or directory): cd to one that exists\n"
    )


@pytest.mark.parametrize("place", ["/proc/run", "/sys/run", "/dev/null/run"])
def test_place_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    for command in (f"train --data iris --epochs 1 --output {place}", f"train --data iris --timeline {place}/t.json"):
        done = shell(f"$N {command}", tmp_path)
        assert done.returncode == 2, done
        assert place.split("/run")[0] in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    done = shell("$N train --data iris --output locked/run", tmp_path)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr


TABLES = ["train {}.csv --target target", "train {} --target target", "train {}.parquet --target target"]


@pytest.mark.parametrize("command", [*TABLES, "train parts --target target", "convert {}.csv c.parquet"])
def test_table_whose_name_is_not_in_utf_8(nnmpi: CommandServer, tmp_path: Path, command: str) -> None:
    name = os.fsdecode(b"b\xff")
    table = load_iris(as_frame=True).frame
    (tmp_path / name).mkdir()
    (tmp_path / "parts").mkdir()
    for path in (f"{name}.csv", f"{name}/a.csv", f"parts/{name}.csv"):
        table.to_csv(tmp_path / path)
    table.to_parquet(tmp_path / "table.parquet")
    (tmp_path / "table.parquet").rename(tmp_path / f"{name}.parquet")
    done = nnmpi(*command.format(name).split(), cwd=tmp_path)
    assert (done.status, len(done.messages)) == (2, 1)
    assert "its name is not in UTF-8" in done.messages[0]
