"""`nnmpi info` on real ranks: only the problems are made up."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jobs import ROOT, TIMEOUT, Done, Environment, check_all_ended, mark, needed, program_path, run, unchanged

pytestmark = pytest.mark.mpi

INFORM = program_path("inform_with_fault.py")


def facts(done: Done) -> dict[str, Any]:
    """Return the JSON object on standard output."""
    (line,) = done.out.splitlines()
    return dict(json.loads(line))


def findings(done: Done) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in facts(done)["findings"]}


def examine(mpi: Environment, ranks: int, directory: Path, *before: str, **variables: str) -> Done:
    """Run ``nnmpi info --json`` on `ranks` ranks, each with the words `before` in front of its command."""
    command = mpi.mpiexec(ranks, *before, mpi.program("nnmpi"), "info", "--json")
    return run(command, directory, **mark(directory), **variables)


@pytest.mark.slow
def test_facts_of_two_ranks(mpi: Environment, tmp_path: Path) -> None:
    with unchanged(tmp_path):
        done = examine(mpi, 2, tmp_path)
    data = facts(done)
    assert data["job"]["promised"] == data["job"]["size"] == 2
    assert data["job"]["library"].startswith({"openmpi": "Open MPI v5", "mpich": "MPICH Version"}[mpi.mpi])
    assert [rank["rank"] for rank in data["ranks"]] == [0, 1]
    assert {cpu for rank in data["ranks"] for cpu in rank["allowed_cpus"]} <= set(os.sched_getaffinity(0))
    (host,) = data["hosts"]
    assert host["shm"]["size"] >= host["shm"]["free"] > 0
    assert any(interface["address"] == "127.0.0.1" for interface in host["interfaces"])
    assert data["reduction"]["name"] == "shared memory"
    assert [time["bytes"] for time in data["reduction"]["times"]] == [8, 64_000, 4_000_000]
    assert all(0 < time["seconds"] < 10 for time in data["reduction"]["times"])
    assert findings(done)["fault_tolerance_off"]["severity"] == "note"
    problems = [finding for finding in data["findings"] if finding["severity"] == "problem"]
    assert done.status == bool(problems)
    check_all_ended(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "launcher"), [("openmpi", "mpich"), ("mpich", "openmpi")])
def test_launcher_of_another_mpi(library: str, launcher: str, tmp_path: Path) -> None:
    done = run(needed(launcher).mpiexec(2, needed(library).program("nnmpi"), "info", "--json"), tmp_path)
    finding = findings(done)["launcher_of_another_mpi"]
    assert finding["severity"] == "problem"
    assert {"openmpi": "Open MPI v", "mpich": "MPICH"}[library] in finding["what"]
    assert {"openmpi": "Open MPI's mpirun", "mpich": "mpiexec (Hydra)"}[launcher] in finding["what"]
    assert done.status == 1
    assert "Traceback" not in done.err


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_two_ranks_bound_to_one_core(mpi: Environment, tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    unbound = {"PRTE_MCA_hwloc_default_binding_policy": "none"}
    done = examine(mpi, 2, tmp_path, "taskset", "-c", core, **unbound)
    finding = findings(done)["bound_to_one_core"]
    assert f"are bound to core {core} together" in finding["what"]
    assert done.status == 1
    assert "bound_to_one_core" not in findings(examine(mpi, 2, tmp_path, **unbound))


@pytest.mark.slow
def test_more_threads_than_cores(mpi: Environment, tmp_path: Path) -> None:
    done = examine(mpi, 2, tmp_path, OMP_NUM_THREADS="64")
    assert "2 ranks with 128 BLAS threads share" in findings(done)["more_threads_than_cores"]["what"]
    assert done.status == 1


@pytest.mark.slow
def test_more_ranks_than_cores(tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    mpi = needed("mpich")
    command = ["taskset", "-c", core, *mpi.nnmpi(2, "info", "--json")]
    assert "2 ranks share 1 core" in findings(run(command, tmp_path))["more_ranks_than_cores"]["what"]


@pytest.mark.slow
def test_fault_tolerance_that_is_on(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    done = run([mpi.program("nnmpi"), "launch", "-n", "2", "--", "info", "--json"], tmp_path)
    assert "fault_tolerance_off" not in findings(done)
    assert facts(done)["job"]["recovers"] is True
    assert "Traceback" not in done.err


def private_shm(size: str, *command: str) -> list[str]:
    """Return `command` with its own /dev/shm of this size."""
    script = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *command]


@pytest.mark.slow
def test_small_shm(mpi: Environment, tmp_path: Path) -> None:
    if os.geteuid() or subprocess.run(private_shm("1m", "true"), capture_output=True).returncode:
        pytest.skip("mounting needs root")
    command = mpi.nnmpi(2, "info", "--json")
    done = run(private_shm("12600k", *command), tmp_path)
    assert "13 MB free of 13 MB" in findings(done)["small_shm"]["what"]
    assert done.status == 1
    (note,) = [line for line in done.err.splitlines() if line.startswith("nnmpi: note")]
    # the note comes before MPI may die; by then another rank may already use some of the memory
    assert re.search("1[23] MB free, so MPI may die", note)
    large_enough = run(private_shm("1g", *command), tmp_path)
    assert "small_shm" not in findings(large_enough)
    assert "nnmpi: note" not in large_enough.err


@pytest.mark.slow
def test_ranks_with_other_versions(mpi: Environment, tmp_path: Path) -> None:
    copy = tmp_path / "copy/nnmpi"
    shutil.copytree(ROOT / "nnmpi", copy, ignore=shutil.ignore_patterns("__pycache__"))
    start = (copy / "__init__.py").read_text()
    (copy / "__init__.py").write_text(start.replace('__version__ = "', '__version__ = "9.'))
    command = [mpi.program("nnmpi"), "info", "--json"]
    other = ["env", f"PYTHONPATH={copy.parent}", "PYTHONDONTWRITEBYTECODE=1", *command]
    done = run(mpi.mpiexec_each(command, other), tmp_path)
    text = findings(done)["versions_differ"]["what"]
    assert "on rank 0" in text
    assert "9." in text
    assert facts(done)["reduction"]["times"] == []  # ranks with different code might not run the same collectives
    assert done.status == 1


@pytest.mark.slow
def test_no_mpi_library(tmp_path: Path) -> None:
    stub = tmp_path / "stub/mpi4py"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("class rc: pass\n")
    (stub / "MPI.py").write_text('raise RuntimeError("cannot load MPI library\\nas was tried in many places")\n')
    mpi, path = needed("openmpi"), {"PYTHONPATH": str(stub.parent)}
    alone = run([mpi.program("nnmpi"), "info", "--json"], tmp_path, **path)
    assert findings(alone)["no_mpi_library"]["severity"] == "note"
    done = run(mpi.nnmpi(2, "info", "--json"), tmp_path, **path)
    finding = findings(done)["no_mpi_library"]
    assert finding["severity"] == "problem"
    assert "cannot load MPI library" in finding["what"]
    assert done.status == 1


@pytest.mark.slow
def test_clocks_that_differ(mpi: Environment, tmp_path: Path) -> None:
    program = program_path("compare_clocks.py")
    done = run(mpi.mpiexec(3, mpi.program("python"), program), tmp_path).succeeded()
    ahead, took = map(int, done.out.split()[2:4])
    assert done.out.split()[:2] == ["0", "0"]
    assert abs(ahead - 3_000_000_000) <= took // 2
    assert done.out.endswith("['a', 'b']\n")


@pytest.mark.slow
def test_a_rank_that_stops_is_named(mpi: Environment, tmp_path: Path) -> None:
    command = [mpi.program("python"), INFORM]
    done = run(mpi.mpiexec_each(command, [*command, "stop"], command), tmp_path, **mark(tmp_path))
    assert done.status
    (message,) = done.messages
    assert "no progress" in message
    assert "rank 1" in message
    assert "stopped by a signal" in message
    assert "stall-timeout" not in message
    check_all_ended(tmp_path)


@pytest.mark.slow
def test_a_rank_that_never_starts_ends_the_wait(mpi: Environment, tmp_path: Path) -> None:
    command = mpi.mpiexec_each([mpi.program("python"), INFORM, "short"], ["sleep", "600"])
    done = run(command, tmp_path, timeout=TIMEOUT, **mark(tmp_path))
    assert done.status
    assert "not all of 2 ranks have answered within 6 s" in done.err
    check_all_ended(tmp_path)
