"""The checks of `nnmpi info` on made-up facts: what each finds, and that nothing is found where all is well."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from nnmpi.doctor.checks import CHECKS, check
from nnmpi.doctor.finding import Facts
from nnmpi.doctor.page import as_json, duration, page, size, spans

VERSIONS = {"nnmpi": "0.1.0", "python": "3.11.2", "numpy": "2.4.6", "scikit-learn": "1.9.1", "mpi4py": "4.1.2"}


def rank(number: int, host: str, cpus: tuple[int, ...]) -> dict[str, Any]:
    return {
        "rank": number,
        "host": host,
        "kernel": f"kernel of {host}",
        "cpus": list(cpus),
        "cores": [f"0 {cpu}" for cpu in cpus],
        "allowed_cpus": [0, 1, 2, 3],
        "quota": None,
        "memory_limit": None,
        "threads": 1,
        "preset_threads": None,
        "blas": {"library": "openblas", "version": "0.3.31", "kernel": "Haswell", "threads": 1},
        "kernel_advice": "",
        "openblas_coretype": None,
        "versions": dict(VERSIONS),
        "code": "0123456789abcdef",
    }


def host(name: str, number: int) -> dict[str, Any]:
    interfaces = [
        {"name": "lo", "address": "127.0.0.1", "up": True, "mbit_per_second": None},
        {"name": "eth0", "address": f"10.0.0.{number}", "up": True, "mbit_per_second": 10000},
        {"name": "docker0", "address": "172.17.0.1", "up": False, "mbit_per_second": None},
    ]
    return {
        "host": name,
        "processor": "AMD EPYC",
        "cpus": 4,
        "memory": 64 << 30,
        "system": "Linux 6.1",
        "interfaces": interfaces,
        "infiniband": [],
        "shm": {"size": 32 << 30, "free": 32 << 30, "needed": 40 << 20},
        "clock": {"ahead_seconds": 1e-5, "round_trip_seconds": 1e-4},
    }


def well() -> Facts:
    """Two hosts with four cores each, two ranks on each of them, bound to two cores; all is well."""
    hosts = ("node1", "node2")
    return {
        "job": {
            "size": 4,
            "library": "Open MPI v5.0.11",
            "library_problem": "",
            "launcher": "Open MPI's mpirun",
            "promised": 4,
            "tasks": 0,
            "recovers": True,
            "at_hand": "/mpi/bin/mpiexec of Open MPI 5.0.11",
            "at_hand_mpi": "Open MPI",
            "at_hand_problem": "",
            "slurm": {},
        },
        "ranks": [rank(2 * h + r, hosts[h], ((0, 1), (2, 3))[r]) for h in (0, 1) for r in (0, 1)],
        "hosts": [host(name, number) for number, name in enumerate(hosts, 1)],
        "output": {"directory": "runs", "problem": "", "unseen_by": []},
        "reduction": {"name": "Allreduce", "times": [{"bytes": 64000, "seconds": 1e-4, "rounds": 3}]},
    }


def job(**values: Any) -> Callable[[Facts], None]:
    return lambda facts: facts["job"].update(values)


def ranks(some: tuple[int, ...] = (0, 1, 2, 3), **values: Any) -> Callable[[Facts], None]:
    return lambda facts: [facts["ranks"][r].update(copy.deepcopy(values)) for r in some]  # type: ignore[return-value]


def hosts(some: tuple[int, ...] = (0, 1), **values: Any) -> Callable[[Facts], None]:
    return lambda facts: [facts["hosts"][h].update(copy.deepcopy(values)) for h in some]  # type: ignore[return-value]


def output(**values: Any) -> Callable[[Facts], None]:
    return lambda facts: facts["output"].update(values)


def both(*changes: Callable[[Facts], None]) -> Callable[[Facts], None]:
    return lambda facts: [change(facts) for change in changes]  # type: ignore[return-value]


def one_world(library: str, launcher: str) -> Callable[[Facts], None]:
    """What the first of the processes sees that an alien launcher started."""

    def change(facts: Facts) -> None:
        facts["job"].update(size=1, promised=4, library=library, launcher=launcher, recovers=False)
        facts["ranks"], facts["hosts"] = facts["ranks"][:1], facts["hosts"][:1]

    return change


def docker(facts: Facts) -> None:
    for one in facts["hosts"]:
        one["interfaces"][2]["up"] = True


def other(versions: dict[str, str]) -> Callable[[Facts], None]:
    return ranks((2, 3), versions=VERSIONS | versions, code="f" * 16)


MISSING = "no MPI library was found (cannot load)"
BOUND = {"cpus": [0], "cores": ["0 0"]}
CGROUP = {"cgroup": "pod", "cpus": 1.5}
# what is changed; the check that finds it, its severity, and words that must stand in what it says and in the remedy
ILL: dict[str, tuple[Callable[[Facts], None], str, str, tuple[str, ...], tuple[str, ...]]] = {
    "Open MPI's library under Hydra": (
        one_world("Open MPI v5.0.11", "mpiexec (Hydra)"),
        "launcher_of_another_mpi",
        "problem",
        ("mpiexec (Hydra) started 4 processes", "a world of 1", "Open MPI v5.0.11"),
        ("launcher of Open MPI v5.0.11",),
    ),
    "MPICH's library under mpirun of Open MPI": (
        one_world("MPICH Version: 5.0.2", "Open MPI's mpirun"),
        "launcher_of_another_mpi",
        "problem",
        ("Open MPI's mpirun started 4", "MPICH Version: 5.0.2"),
        ("launcher of MPICH",),
    ),
    "srun with the wrong --mpi": (
        one_world("Open MPI v5.0.11", "srun --mpi=pmi2"),
        "launcher_of_another_mpi",
        "problem",
        ("srun --mpi=pmi2 started 4",),
        ("srun --mpi=list",),
    ),
    "no MPI library under a launcher": (
        both(one_world("", "mpiexec (Hydra)"), job(library=None, library_problem=MISSING)),
        "no_mpi_library",
        "problem",
        (MISSING, "mpiexec (Hydra)"),
        ("pip install",),
    ),
    "no MPI library for one rank": (
        both(one_world("", ""), job(library=None, library_problem=MISSING, launcher=None, promised=1)),
        "no_mpi_library",
        "note",
        (MISSING,),
        ("pip install",),
    ),
    "Slurm's tasks that are no ranks": (
        both(one_world("Open MPI v5.0.11", ""), job(launcher=None, promised=1, tasks=8)),
        "tasks_not_started",
        "problem",
        ("8 tasks",),
        ("nnmpi launch -n 8", "SLURM_NTASKS"),
    ),
    "the launcher at hand is of another MPI": (
        both(one_world("MPICH Version: 5.0.2", ""), job(launcher=None, promised=1)),
        "launcher_at_hand",
        "problem",
        ("/mpi/bin/mpiexec of Open MPI", "MPICH Version"),
        ("PATH", "MPI4PY_LIBMPI"),
    ),
    "no launcher at hand": (
        both(
            one_world("MPICH Version: 5.0.2", ""),
            job(launcher=None, promised=1, at_hand=None, at_hand_problem="no mpiexec or mpirun was found"),
        ),
        "launcher_at_hand",
        "note",
        ("no mpiexec",),
        ("pip install",),
    ),
    "fault tolerance off, Open MPI": (job(recovers=False), "fault_tolerance_off", "note", ("ends the job",), ("ulfm",)),
    "fault tolerance off, MPICH": (
        job(recovers=False, library="MPICH Version: 5.0.2"),
        "fault_tolerance_off",
        "note",
        ("ends the job",),
        ("--restarts",),
    ),
    "two ranks bound to one core": (
        ranks((2, 3), **BOUND),
        "bound_to_one_core",
        "problem",
        ("ranks 2, 3 on node2", "core 0 together"),
        ("--bind-to none",),
    ),
    "two ranks bound to the hardware threads of a core": (
        ranks((0, 1), cpus=[0, 2], cores=["0 0"]),
        "bound_to_one_core",
        "problem",
        ("ranks 0, 1 on node1", "cores 0, 2 together"),
        ("--bind-to none",),
    ),
    "more ranks than cores": (
        ranks((0, 1), cpus=[5], cores=["0 5"], allowed_cpus=[5]),
        "more_ranks_than_cores",
        "problem",
        ("2 ranks share 1 core of node1",),
        ("no more than 1",),
    ),
    "more ranks than a quota": (
        ranks((0, 1), quota=CGROUP),
        "more_ranks_than_cores",
        "problem",
        ("2 ranks share 1 core (a quota of the cgroup pod) of node1",),
        ("no more than 1",),
    ),
    "containers of one machine": (
        ranks(kernel="the same", allowed_cpus=[0, 1], cpus=[0, 1], cores=["0 0", "0 1"]),
        "more_ranks_than_cores",
        "problem",
        ("4 ranks share 2 cores of node1, node2, which are one machine",),
        ("no more than 2",),
    ),
    "more BLAS threads than cores": (
        ranks((0, 1), threads=4, preset_threads="OMP_NUM_THREADS", cpus=[0, 1, 2, 3]),
        "more_threads_than_cores",
        "problem",
        ("2 ranks with 8 BLAS threads share 4 cores of node1", "OMP_NUM_THREADS=4"),
        ("--threads 2", "OMP_NUM_THREADS=2"),
    ),
    "more BLAS threads than a rank's cores": (
        ranks((0,), threads=2, cpus=[0], cores=["0 0"]),
        "more_threads_than_cores",
        "problem",
        ("rank 0 on node1 has 2 BLAS threads on 1 core",),
        ("--threads 1",),
    ),
    "small /dev/shm": (
        hosts((1,), shm={"size": 64_000_000, "free": 20_000_000, "needed": 40_000_000}),
        "small_shm",
        "problem",
        ("node2 (20 MB free of 64 MB", "need 40 MB"),
        ("--shm-size",),
    ),
    "another nnmpi": (
        other({"nnmpi": "0.0.9"}),
        "versions_differ",
        "problem",
        ("nnmpi 0.1.0 on node1; 0.0.9 on node2",),
        ("install the same",),
    ),
    "another NumPy": (
        ranks((2, 3), versions=VERSIONS | {"numpy": "2.0.0"}),
        "versions_differ",
        "problem",
        ("numpy 2.4.6 on node1; 2.0.0 on node2",),
        ("install the same",),
    ),
    "the same version with other code, on one host": (
        ranks((3,), code="f" * 16),
        "versions_differ",
        "problem",
        ("source files of nnmpi", "ranks 0, 1 on node1 and 2 on node2", "rank 3 on node2"),
        ("install the same",),
    ),
    "other processors": (
        hosts((1,), processor="Xeon"),
        "processors_differ",
        "note",
        ("AMD EPYC on node1; Xeon on node2",),
        ("--constraint",),
    ),
    "other kernels of BLAS": (
        ranks((2, 3), blas={"library": "openblas", "version": "0.3.31", "kernel": "Zen", "threads": 1}),
        "blas_kernels_differ",
        "problem",
        ("Haswell on node1", "Zen on node2"),
        ("OPENBLAS_CORETYPE",),
    ),
    "a faster kernel": (
        ranks((0,), kernel_advice="OPENBLAS_CORETYPE=Haswell is 5 to 7 % faster"),
        "other_kernel_pays",
        "note",
        ("5 to 7 %", "node1"),
        ("OPENBLAS_CORETYPE=Haswell",),
    ),
    "an address that two hosts have": (
        docker,
        "same_address",
        "note",
        ("docker0", "node1, node2"),
        ("btl_tcp_if_exclude lo,docker0",),
    ),
    "output that cannot be written": (
        output(problem="/data cannot be written (Read-only file system)"),
        "output_not_writable",
        "problem",
        ("Read-only",),
        ("--output",),
    ),
    "output not shared": (
        output(unseen_by=["node2"]),
        "output_not_shared",
        "problem",
        ("runs on node1 is not seen by node2",),
        ("--output",),
    ),
    "clocks a little apart": (
        hosts((1,), clock={"ahead_seconds": -2.5, "round_trip_seconds": 1e-4}),
        "clocks_apart",
        "note",
        ("node2 is -2.5 s from node1",),
        ("NTP",),
    ),
    "clocks far apart": (
        hosts((1,), clock={"ahead_seconds": 3600.0, "round_trip_seconds": 1e-4}),
        "clocks_apart",
        "problem",
        ("+3600.0 s", "lock"),
        ("NTP",),
    ),
}


@pytest.mark.parametrize("which", ILL)
def test_each_illness_is_found_and_no_other(which: str) -> None:
    change, name, severity, words, remedies = ILL[which]
    facts = well()
    change(facts)
    (finding,) = check(facts)
    assert (finding.check, finding.severity) == (name, severity)
    assert all(word in finding.what for word in words), finding.what
    assert all(word in finding.remedy for word in remedies), finding.remedy
    text = page([finding], facts, 100)
    assert text.startswith(severity)
    assert "remedy" in text


def test_where_all_is_well_nothing_is_found() -> None:
    assert check(well()) == []
    assert page([], well(), 100).startswith("no problem was found\n\njob\n")


def test_every_check_is_tested_here() -> None:
    assert {name for _, name, *_ in ILL.values()} == {check.__name__ for check in CHECKS}


HEALTHY = {
    "a slow network explains the difference of clocks": hosts(
        (1,), clock={"ahead_seconds": 1.5, "round_trip_seconds": 1.2}
    ),
    "each rank bound to a core of its own": both(
        ranks((0, 2), cpus=[0], cores=["0 0"]), ranks((1, 3), cpus=[1], cores=["0 1"])
    ),
    "all ranks may use all cores": ranks(cpus=[0, 1, 2, 3], cores=["0 0", "0 1", "0 2", "0 3"]),
    "hardware threads, of which ranks are bound to none": ranks(cpus=[0, 1, 2, 3], cores=["0 0", "0 1"]),
    "as many threads as cores": ranks(threads=2),
    "a quota for each of two containers": both(
        ranks((0, 1), kernel="the same", quota={"cgroup": "a", "cpus": 2.0}),
        ranks((2, 3), kernel="the same", quota={"cgroup": "a", "cpus": 2.0}),
    ),
    "no /dev/shm": hosts(shm=None),
    "no clocks": hosts(clock=None),
    "Intel MPI under Hydra": both(
        one_world("Intel(R) MPI Library 2021.17", ""), job(launcher=None, promised=1, at_hand_mpi="MPICH")
    ),
}


@pytest.mark.parametrize("which", HEALTHY)
def test_what_only_looks_ill(which: str) -> None:
    facts = well()
    HEALTHY[which](facts)
    assert check(facts) == []


def test_problems_come_before_notes() -> None:
    facts = well()
    both(hosts((1,), processor="Xeon"), output(unseen_by=["node2"]), job(recovers=False))(facts)
    assert [finding.severity for finding in check(facts)] == ["problem", "note", "note"]


def test_the_page_stays_within_its_width_and_is_printable() -> None:
    facts = well()
    facts["hosts"] = [host(f"node{n}\x1b[31m", n) for n in range(1, 40)]
    facts["ranks"] = [rank(n, one["host"], (0,)) for n, one in enumerate(facts["hosts"])]
    ILL["small /dev/shm"][0](facts)
    lines = page(check(facts), facts, 72).splitlines()
    assert max(map(len, lines)) <= 72
    assert all(line.isprintable() for line in lines)
    assert lines[-1].endswith("23 hosts; --json shows all")


def test_json_holds_findings_and_facts() -> None:
    facts = well()
    job(recovers=False)(facts)
    data = as_json(check(facts), facts)
    assert list(data) == ["findings", "job", "ranks", "hosts", "output", "reduction"]
    assert data["findings"][0]["check"] == "fault_tolerance_off"
    assert set(data["findings"][0]) == {"check", "severity", "what", "remedy"}


def test_numbers_for_people() -> None:
    assert [size(n) for n in (8, 64_000, 4_000_000, 32e9)] == ["8 B", "64 kB", "4 MB", "32 GB"]
    assert [duration(s) for s in (3.14e-6, 0.0025, 1.2)] == ["3.14 µs", "2.5 ms", "1.2 s"]
    assert spans([0, 1, 2, 5]) == "0-2, 5"
