"""Checks of how the job was started: MPI library, launcher, Slurm, fault tolerance."""

from nnmpi.doctor.finding import Facts, Finding
from nnmpi.mpi.start import INSTALL_MPI

FAMILIES = {"Open MPI": "Open MPI", "MPICH": "MPICH", "Intel": "MPICH"}  # Hydra starts both MPICH and Intel MPI


def family(name: str) -> str:
    """Return "Open MPI" or "MPICH" for the name of a library or launcher of theirs, and any other name unchanged."""
    return next((mpi for start, mpi in FAMILIES.items() if name.startswith(start)), name)


def no_mpi_library(facts: Facts) -> Finding | None:
    """Report that there is no MPI library; one rank needs none."""
    job = facts["job"]
    if job["library"]:
        return None
    if job["launcher"] is None:
        return Finding("note", f"{job['library_problem']}; one rank needs none", f"for several ranks: {INSTALL_MPI}")
    return Finding("problem", f"{job['launcher']} started this, but {job['library_problem']}", INSTALL_MPI)


def launcher_of_another_mpi(facts: Facts) -> Finding | None:
    """Report a launcher of another MPI than the library: each process is then a world of its own."""
    job = facts["job"]
    if not job["library"] or job["promised"] == job["size"]:
        return None
    what = (
        f"{job['launcher']} started {job['promised']} processes, but each is a world of {job['size']}: launcher and "
        f"MPI library belong to different MPIs (the library is {job['library']}); train refuses to run"
    )
    if "srun" in job["launcher"] or job["launcher"] == "Slurm":
        return Finding(
            "problem", what, "srun with the --mpi=… of this MPI (srun --mpi=list), or nnmpi launch in the job"
        )
    at_hand = f"; nnmpi launch uses {job['at_hand']}" if job["at_hand"] else ""
    return Finding("problem", what, f"use the launcher of {job['library']}{at_hand}")


def tasks_not_started(facts: Facts) -> Finding | None:
    """Report that Slurm allocated several tasks, but srun did not start this process."""
    tasks, size = facts["job"]["tasks"], facts["job"]["size"]
    if size > 1 or tasks <= 1:
        return None
    return Finding(
        "problem",
        f"Slurm allocated {tasks} tasks, but srun did not start this process; train refuses to run",
        f"srun nnmpi …, or nnmpi launch -n {tasks} -- …; for one rank, unset SLURM_NTASKS",
    )


def launcher_at_hand(facts: Facts) -> Finding | None:
    """Report that ``nnmpi launch`` has no launcher, or one of another MPI than the library."""
    job = facts["job"]
    if job["launcher"] is not None or not job["library"]:
        return None
    if not job["at_hand"]:
        return Finding("note", job["at_hand_problem"], f"for several ranks: {INSTALL_MPI}")
    if family(job["at_hand_mpi"]) == family(job["library"]):
        return None
    return Finding(
        "problem",
        f"nnmpi launch would use {job['at_hand']}, but the MPI library is {job['library']}",
        "put the launcher of the library's MPI first on PATH, or load the library of the launcher's "
        "MPI (MPI4PY_LIBMPI=/path/to/libmpi.so)",
    )


def fault_tolerance_off(facts: Facts) -> Finding | None:
    """Report that fault tolerance is off."""
    job = facts["job"]
    if job["size"] == 1 or job["recovers"]:
        return None
    if family(job["library"]) == "Open MPI":
        remedy = "nnmpi launch, or mpirun --with-ft ulfm, if this Open MPI was built with it"
    else:
        remedy = "nnmpi launch --restarts 3, or use Open MPI, which has fault tolerance"
    return Finding("note", "fault tolerance is off: a rank that dies ends the job", remedy)
