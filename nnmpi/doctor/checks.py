"""All checks, in the order in which their findings are shown; each takes the facts and returns a finding or None."""

from collections.abc import Callable
from dataclasses import replace

from nnmpi.doctor import check_cores, check_hosts, check_job
from nnmpi.doctor.finding import Facts, Finding

CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    check_job.no_mpi_library,
    check_job.launcher_of_another_mpi,
    check_job.tasks_not_started,
    check_job.launcher_at_hand,
    check_hosts.versions_differ,
    check_cores.bound_to_one_core,
    check_cores.more_ranks_than_cores,
    check_cores.more_threads_than_cores,
    check_hosts.small_shm,
    check_hosts.blas_kernels_differ,
    check_hosts.processors_differ,
    check_hosts.same_address,
    check_hosts.output_not_writable,
    check_hosts.output_not_shared,
    check_hosts.clocks_apart,
    check_job.fault_tolerance_off,
    check_cores.other_kernel_pays,
)


def check(facts: Facts) -> list[Finding]:
    """Return the findings of all checks, problems before notes."""
    findings = [replace(finding, check=check.__name__) for check in CHECKS if (finding := check(facts))]
    return sorted(findings, key=lambda finding: finding.severity != "problem")
