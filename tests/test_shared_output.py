"""`nnmpi info` finds the hosts that do not see the output directory. Ranks are threads, each on its own host."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from ranks import on_ranks

from nnmpi.doctor import shared_output as module
from nnmpi.doctor.shared_output import shared_output


def check_output(directory: Path, ranks: int = 3) -> dict[str, Any]:
    results = on_ranks(ranks, lambda world: shared_output(world, directory / "runs/deep/run"))
    assert all(result == results[0] for result in results)
    assert os.listdir(directory) == []  # no file is left
    return dict(results[0])


def test_all_hosts_see_it_and_nothing_stays(tmp_path: Path) -> None:
    assert check_output(tmp_path) == {"directory": str(tmp_path / "runs/deep/run"), "problem": "", "unseen_by": []}


def test_the_hosts_that_do_not_see_it_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    calls = itertools.count()
    paths: list[Path] = []

    def seen_by_two(path: Path) -> bool:
        paths.append(path)
        return path.exists() and next(calls) < 2  # the third rank does not see it

    monkeypatch.setattr(module, "is_visible", seen_by_two)
    assert len(check_output(tmp_path)["unseen_by"]) == 1
    assert {path.parent for path in paths} == {tmp_path}


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_directory_that_cannot_be_written(ranks: int) -> None:
    result = on_ranks(ranks, lambda world: shared_output(world, Path("/proc/run")))[0]
    assert result["problem"].startswith("/proc cannot be written")
    assert result["unseen_by"] == []


def test_a_file_that_never_comes_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    assert not module.is_visible(tmp_path / "missing")
    assert module.is_visible(tmp_path)
