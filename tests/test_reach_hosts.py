"""`nnmpi launch -- info` tries to reach each host with ssh before it starts the launcher; a script replaces ssh."""

import os
import time
from pathlib import Path

import pytest

from nnmpi import __version__
from nnmpi.doctor import reach_hosts
from nnmpi.doctor.reach_hosts import OTHER_WAYS, ssh_command, unreached
from nnmpi.launching.hostfile import Host
from nnmpi.launching.mpiexec_command import ALLOCATIONS

FAR = "198.51.100.7"  # no host has this address (RFC 5737)


@pytest.fixture(autouse=True)
def no_batch_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ALLOCATIONS, *OTHER_WAYS):
        monkeypatch.delenv(name, raising=False)


def ssh(monkeypatch: pytest.MonkeyPatch, directory: Path, script: str) -> None:
    """Replace ssh by a shell script, which also counts its calls."""
    program = directory / "ssh"
    program.write_text(f"#!/bin/sh\necho x >> {directory}/calls\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def ssh_calls(directory: Path) -> int:
    return len((directory / "calls").read_text()) // 2 if (directory / "calls").exists() else 0


VERSION = f"echo nnmpi, version {__version__}"
ANSWERS = {
    "all is well": (VERSION, "", ""),
    "no connection": (
        "echo 'ssh: connect to host b port 22: Connection refused' >&2; exit 255",
        "Connection refused",
        "firewall",
    ),
    "a password is asked for": (
        "echo 'root@b: Permission denied (publickey).' >&2; exit 255",
        "publickey",
        "ssh-copy-id",
    ),
    "no nnmpi": ("echo 'bash: line 1: /x/nnmpi: No such file or directory' >&2; exit 127", "No such file", "same path"),
    "a broken nnmpi": ("echo 'ImportError: no numpy' >&2; exit 1", "no numpy", "so that it runs"),
    "another version": ("echo nnmpi, version 9.9", f"nnmpi there is 9.9, here it is {__version__}", "same version"),
    "nothing is said": ("true", "unknown", "same version"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_of_ssh(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script, cause, remedy = ANSWERS[case]
    ssh(monkeypatch, tmp_path, script)
    findings = unreached([Host(FAR, 1, FAR)])
    assert ssh_calls(tmp_path) == 1
    assert bool(findings) == bool(cause)
    for finding in findings:
        assert finding.what.startswith(f"no rank can be started on {FAR}: ")
        assert cause in finding.what
        assert remedy in finding.remedy
        assert (finding.check, finding.severity) == ("host_not_reached", "problem")


def test_no_answer_ends_in_bounded_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reach_hosts, "ANSWER", 0.5)
    ssh(monkeypatch, tmp_path, "exec sleep 600")
    started = time.monotonic()
    (finding,) = unreached([Host(FAR, 1, FAR), Host("198.51.100.8", 1, "")])
    assert time.monotonic() - started < 30
    assert f"{FAR}, 198.51.100.8: no answer" in finding.what


def test_no_ssh_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = unreached([Host(FAR, 1, FAR)])
    assert "ssh cannot be started" in finding.what


def test_each_host_is_asked_once_and_this_one_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ssh(monkeypatch, tmp_path, VERSION)
    local = [Host(name, 1, name) for name in ("localhost", "127.0.0.1", "me@localhost")]
    assert unreached([*local, Host(FAR, 1, FAR), Host(FAR, 1, FAR)]) == []
    assert ssh_calls(tmp_path) == 1


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "HYDRA_LAUNCHER"])
def test_where_the_launcher_uses_no_ssh_nobody_is_asked(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ssh(monkeypatch, tmp_path, "exit 255")
    monkeypatch.setenv(name, "1")
    assert unreached([Host(FAR, 1, FAR)]) == []
    assert ssh_calls(tmp_path) == 0


def test_user_and_port_of_the_hostfile_are_used() -> None:
    words = " ".join(ssh_command(Host("me@b", 4, "me@b slots=4 port=2222")))
    assert "BatchMode=yes" in words
    assert "ConnectTimeout=5" in words
    assert "-p2222 -- me@b /" in words
    assert "-lme -- b /" in " ".join(ssh_command(Host("b", 8, "b:8 user=me")))
