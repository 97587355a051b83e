"""The command that `nnmpi launch` builds for each launcher, tested with programs that imitate launchers."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from jobs import LAUNCHER_VARIABLES, CommandServer, unchanged

from nnmpi.errors import InputError
from nnmpi.launching import mpiexec_command as launch
from nnmpi.launching.find_mpiexec import Launcher, find_launcher
from nnmpi.launching.hostfile import Host
from nnmpi.launching.mpiexec_command import Command, Job, command, ranks_left

OPEN_MPI = Launcher("/x/mpiexec", "Open MPI", "5.0.11", True)
PLAIN_OPEN_MPI = Launcher("/x/mpiexec", "Open MPI", "4.1.4", False)
MPICH = Launcher("/x/mpiexec", "MPICH", "5.0.2", False)
INTEL_MPI = Launcher("/x/mpiexec", "Intel MPI", "2021.18.1", False)
LAUNCHERS = {
    "mpiexec (Open MPI) 5.0.11": ("Open MPI", "5.0.11"),
    "mpirun (Open MPI) 4.1.4": ("Open MPI", "4.1.4"),
    "HYDRA build details:\n    Version:                                 5.0.2": ("MPICH", "5.0.2"),
    "Intel(R) MPI Library for Linux* OS, Version 2021.18.1 Build 20260626": ("Intel MPI", "2021.18.1"),
}


@pytest.fixture(autouse=True)
def machine_without_launchers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pretend to be on a machine with 4 cores and no launcher, as a user who is not root."""
    for name in list(os.environ):
        if name.startswith(LAUNCHER_VARIABLES):
            monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(launch, "_physical_cores", lambda: 4)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def imitate(path: Path, version: str) -> str:
    """Make a program that prints `version`; return its path."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(version)}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("version", LAUNCHERS)
def test_launchers_are_told_by_what_they_say(version: str, tmp_path: Path) -> None:
    path = imitate(tmp_path / "path/mpirun", version)
    launcher = find_launcher()
    assert (launcher.path, launcher.mpi, launcher.version) == (path, *LAUNCHERS[version])
    assert not launcher.fault_tolerance


def test_fault_tolerance_is_what_the_build_has(tmp_path: Path) -> None:
    imitate(tmp_path / "path/mpiexec", "mpiexec (Open MPI) 5.0.11")
    imitate(tmp_path / "path/ompi_info", "options:ft_support:yes\noptions:ft_mpi_support:yes")
    assert find_launcher().fault_tolerance


def test_launcher_beside_python_comes_before_that_on_path(tmp_path: Path) -> None:
    imitate(tmp_path / "path/mpiexec", "mpiexec (Open MPI) 5.0.11")
    beside = imitate(tmp_path / "bin/mpirun", "HYDRA build details:\n  Version:   5.0.2")
    assert find_launcher().path == beside


def test_without_a_launcher_it_says_what_to_install() -> None:
    with pytest.raises(InputError, match=r"no mpiexec or mpirun was found.*pip install"):
        find_launcher()


def test_unknown_launcher_is_refused(tmp_path: Path) -> None:
    imitate(tmp_path / "path/mpiexec", "mpiexec of another kind 1.0")
    with pytest.raises(InputError, match=r"another kind"):
        find_launcher()


def flags(launcher: Launcher, job: Job, hosts: tuple[Host, ...] = ()) -> str:
    """Return the words of the command between the launcher and nnmpi."""
    words = command(launcher, job, list(hosts)).words
    end = words.index(sys.executable)
    assert words[0] == launcher.path
    assert words[end:] == (sys.executable, "-m", "nnmpi", *job.arguments)
    return " ".join(words[1:end])


TRAIN, EVALUATE = ("train", "--epochs", "3"), ("evaluate", "run")
CROWDED = "--map-by :OVERSUBSCRIBE --bind-to none"


def test_open_mpi() -> None:
    assert flags(OPEN_MPI, Job(4, TRAIN)) == "-n 4 --with-ft ulfm"
    assert flags(OPEN_MPI, Job(5, TRAIN)) == f"-n 5 {CROWDED} --with-ft ulfm"
    assert flags(OPEN_MPI, Job(4, TRAIN, tag_output=True, fault_tolerance=False)) == "-n 4 --output tag"
    assert flags(PLAIN_OPEN_MPI, Job(4, TRAIN, tag_output=True)) == "-n 4 --tag-output"
    assert flags(OPEN_MPI, Job(4, EVALUATE)) == "-n 4"


def test_in_an_allocation_open_mpi_knows_the_hosts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    assert flags(OPEN_MPI, Job(64, TRAIN)) == "-n 64 --with-ft ulfm"
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "4")  # between hosts, a heartbeat detects dead ranks
    assert flags(OPEN_MPI, Job(64, TRAIN)).startswith("-n 64 --with-ft ulfm --mca mpi_ft_detector 1")


def test_open_mpi_with_a_hostfile() -> None:
    file = Path("hosts")
    a, b = Host("a", 4, "a slots=4"), Host("b", 4, "b slots=4")
    assert flags(OPEN_MPI, Job(4, EVALUATE, file), (a, b)) == "-n 4 --hostfile hosts"
    assert flags(OPEN_MPI, Job(9, EVALUATE, file), (a, b)) == f"-n 9 --hostfile hosts {CROWDED}"
    c = Host("c", 6, "c slots=6")
    assert flags(OPEN_MPI, Job(6, EVALUATE, file), (c,)) == "-n 6 --hostfile hosts --bind-to none"
    assert flags(OPEN_MPI, Job(8, TRAIN, file), (a, a)) == "-n 8 --hostfile hosts --bind-to none --with-ft ulfm"
    heartbeat = flags(OPEN_MPI, Job(8, TRAIN, file), (a, b)).removeprefix("-n 8 --hostfile hosts --with-ft ulfm ")
    assert heartbeat.startswith("--mca mpi_ft_detector 1 ")
    assert "--mca mpi_ft_detector_thread 1" in heartbeat
    assert "--mca mpi_ft_propagator_with_rbcast 1" in heartbeat


def test_hydra() -> None:
    file, host = Path("hosts"), Host("a", 4, "a:4")
    assert flags(MPICH, Job(9, TRAIN)) == "-n 9"
    assert flags(MPICH, Job(9, TRAIN, file, tag_output=True), (host,)) == "-f hosts -prepend-rank -n 9"
    hosts = (Host("a", None, "a"), Host("b", None, "b"))
    assert flags(INTEL_MPI, Job(3, TRAIN, file), hosts) == "-f hosts -ppn 2 -n 3"
    assert command(INTEL_MPI, Job(5, TRAIN), []).variables == {"I_MPI_PIN": "off"}
    assert command(INTEL_MPI, Job(4, TRAIN), []).variables == {}


def test_fault_tolerance_that_is_not_there_is_refused() -> None:
    for launcher in (PLAIN_OPEN_MPI, MPICH, INTEL_MPI):
        with pytest.raises(InputError, match="--fault-tolerance"):
            command(launcher, Job(2, TRAIN, fault_tolerance=True), [])


def test_root_is_allowed_and_the_line_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    built = command(OPEN_MPI, Job(1, ("predict", "a b")), [])
    assert built.variables == {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    assert shlex.split(str(built)) == [*(f"{name}=1" for name in built.variables), *built.words]
    assert str(Command(("a", "b c"), {"D": "e f"})) == "D='e f' a 'b c'"


def test_hosts_that_are_left_get_no_more_ranks_than_before() -> None:
    a, b, c = (Host(name, 2, name) for name in "abc")
    assert ranks_left(6, [a, b, c], [a, c]) == 4
    assert ranks_left(3, [a, b, c], [a, c]) == 3
    assert ranks_left(12, [a, b, c], [a]) == 4
    assert ranks_left(5, [Host("a", None, "a"), Host("b", None, "b")], [Host("b", None, "b")]) == 3


BAD_INPUT = {
    "launch -n 0 -- train": ("-n", "0", "x>=1"),
    "launch train": ("-n",),
    "launch -n 2": ("COMMAND",),
    "launch -n 2 --": ("COMMAND",),
    "launch -n 2 -- trian": ("trian", "train"),
    "launch -n 2 -- launch -n 2 train": ("launch starts train",),
    "launch -n 2 -- train --epochs x": ("--epochs", "x"),
    "launch -n 2 -- train --batch-size 0": ("--batch-size", "0", "from 1"),
    "launch -n 2 --restarts -1 -- train": ("--restarts", "-1", "x>=0"),
    "launch -n 2 --restarts 1 -- evaluate run": ("--restarts", "evaluate"),
    "launch -n 2 --hostfile missing -- train": ("--hostfile missing", "No such file"),
    "launch -n 2 --hostfile . -- train": ("--hostfile .", "not a file"),
}


@pytest.mark.parametrize("words", BAD_INPUT)
def test_bad_input_is_refused_before_anything_starts(nnmpi: CommandServer, words: str, tmp_path: Path) -> None:
    with unchanged(tmp_path):
        done = nnmpi(*words.split(), cwd=tmp_path)
    assert done.status == 2
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("nnmpi: ")
    assert all(word in line for word in BAD_INPUT[words]), line


@pytest.mark.slow
def test_launch_in_a_rank_is_refused(nnmpi: CommandServer, tmp_path: Path) -> None:
    done = nnmpi("launch", "-n", "2", "info", cwd=tmp_path, PMI_SIZE="2", PMI_RANK="0", PMI_PORT="localhost:1")
    assert done.status == 2
    assert "use only one of the two" in done.err
    in_script = nnmpi("launch", "-n", "2", "--dry-run", "info", cwd=tmp_path, SLURM_NTASKS="2", SLURM_PROCID="0")
    in_script.succeeded()
