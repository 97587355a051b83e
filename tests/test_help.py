"""The help: flags in sections, examples, widths."""

import subprocess
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import click
import pytest
from jobs import CommandServer, variables

from nnmpi.cli import cli
from nnmpi.cli.sections import GROUPS, RARE
from nnmpi.config import Config
from nnmpi.setting import flag_of

SECTIONED = ("train", "lr-find")


def options(command: str) -> list[str]:
    context = click.Context(cli.commands[command], info_name=command)
    names = [p.name for p in cli.commands[command].get_params(context) if isinstance(p, click.Option)]
    return ["help" if name == "_click_default_help" else str(name) for name in names]


@pytest.mark.parametrize("command", SECTIONED)
def test_each_flag_is_in_exactly_one_group(command: str) -> None:
    counts = Counter(name for names in GROUPS.values() for name in names)
    assert [name for name in options(command) if counts[name] != 1] == []


def test_each_setting_is_a_flag_of_train() -> None:
    assert {field.name for field in fields(Config)} <= set(options("train"))


def test_rare_flags_are_in_the_long_help_only(nnmpi: CommandServer) -> None:
    short, long = (nnmpi("train", flag).succeeded().out for flag in ("--help", "--help-all"))
    for name in options("train"):
        words = [flag_of(name), f"{flag_of(name)},"]
        assert any(word in long.split() for word in words), name
        assert any(word in short.split() for word in words) == (name not in RARE), name
    assert "Other" not in long
    sections = [line.rstrip(":") for line in long.splitlines() if line and not line[0].isspace()]
    assert [section for section in sections if section in GROUPS] == [name for name in GROUPS if name != "Sweep"]


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in ("train", "lr-find", "launch"))])
def test_help_fits_80_columns(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("nnmpi")), *arguments]
    done = subprocess.run(command, env=variables(COLUMNS="80"), capture_output=True, text=True, timeout=60, check=True)
    assert max(map(len, done.stdout.splitlines())) <= 80
    commands = done.stdout.partition("\nCommands:")[2]
    assert "..." not in commands  # no description is cut off


def test_help_shows_a_first_session(nnmpi: CommandServer) -> None:
    lines = [line.strip() for line in nnmpi("--help").succeeded().out.splitlines()]
    assert all(
        any(line.startswith(f"nnmpi {words}") for line in lines)
        for words in ("train", "launch -n 4 -- train", "evaluate", "predict", "report")
    )


def test_shells_complete_flags_and_choices(nnmpi: CommandServer, tmp_path: Path) -> None:
    """Click completes words when a shell asks; docs/how-to/settings.md says how to turn that on."""
    request = {"_NNMPI_COMPLETE": "bash_complete", "COMP_WORDS": "nnmpi train --optimizer ", "COMP_CWORD": "3"}
    program = str(Path(sys.executable).with_name("nnmpi"))
    done = subprocess.run([program], env=variables(**request), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["plain,sgd", "plain,adam"]
