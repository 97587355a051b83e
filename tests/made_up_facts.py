"""Made-up facts of a job, as `nnmpi info` gathers them: those of a healthy job, and changes of them."""

import copy
from collections.abc import Callable
from typing import Any

from nnmpi.doctor.finding import Facts

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


def healthy_facts() -> Facts:
    """Two hosts with four cores each, two ranks on each of them, bound to two cores."""
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


def ranks(numbers: tuple[int, ...] = (0, 1, 2, 3), **values: Any) -> Callable[[Facts], None]:
    return lambda facts: [facts["ranks"][r].update(copy.deepcopy(values)) for r in numbers]  # type: ignore[return-value]


def hosts(numbers: tuple[int, ...] = (0, 1), **values: Any) -> Callable[[Facts], None]:
    return lambda facts: [facts["hosts"][h].update(copy.deepcopy(values)) for h in numbers]  # type: ignore[return-value]


def output(**values: Any) -> Callable[[Facts], None]:
    return lambda facts: facts["output"].update(values)


def combined(*changes: Callable[[Facts], None]) -> Callable[[Facts], None]:
    return lambda facts: [change(facts) for change in changes]  # type: ignore[return-value]


def world_of_one(library: str, launcher: str) -> Callable[[Facts], None]:
    """The launcher of another MPI has started four processes. Each is the only rank of its own world."""

    def change(facts: Facts) -> None:
        facts["job"].update(size=1, promised=4, library=library, launcher=launcher, recovers=False)
        facts["ranks"], facts["hosts"] = facts["ranks"][:1], facts["hosts"][:1]

    return change


def docker_is_up(facts: Facts) -> None:
    for facts_of_host in facts["hosts"]:
        facts_of_host["interfaces"][2]["up"] = True


def other_versions(versions: dict[str, str]) -> Callable[[Facts], None]:
    return ranks((2, 3), versions=VERSIONS | versions, code="f" * 16)
