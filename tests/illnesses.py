"""Problems of a job: changes of healthy facts, each with the finding that `nnmpi info` must report."""

from collections.abc import Callable

from made_up_facts import VERSIONS, combined, docker_is_up, hosts, job, other_versions, output, ranks, world_of_one

from nnmpi.doctor.finding import Facts

MISSING = "no MPI library was found (cannot load)"
BOUND = {"cpus": [0], "cores": ["0 0"]}
CGROUP = {"cgroup": "pod", "cpus": 1.5}
# change of the facts, check that finds the problem, severity, words in the finding, words in the remedy
ILLNESSES: dict[str, tuple[Callable[[Facts], None], str, str, tuple[str, ...], tuple[str, ...]]] = {
    "Open MPI's library under Hydra": (
        world_of_one("Open MPI v5.0.11", "mpiexec (Hydra)"),
        "launcher_of_another_mpi",
        "problem",
        ("mpiexec (Hydra) started 4 processes", "a world of 1", "Open MPI v5.0.11"),
        ("launcher of Open MPI v5.0.11",),
    ),
    "MPICH's library under mpirun of Open MPI": (
        world_of_one("MPICH Version: 5.0.2", "Open MPI's mpirun"),
        "launcher_of_another_mpi",
        "problem",
        ("Open MPI's mpirun started 4", "MPICH Version: 5.0.2"),
        ("launcher of MPICH",),
    ),
    "srun with the wrong --mpi": (
        world_of_one("Open MPI v5.0.11", "srun --mpi=pmi2"),
        "launcher_of_another_mpi",
        "problem",
        ("srun --mpi=pmi2 started 4",),
        ("srun --mpi=list",),
    ),
    "no MPI library under a launcher": (
        combined(world_of_one("", "mpiexec (Hydra)"), job(library=None, library_problem=MISSING)),
        "no_mpi_library",
        "problem",
        (MISSING, "mpiexec (Hydra)"),
        ("pip install",),
    ),
    "no MPI library for one rank": (
        combined(world_of_one("", ""), job(library=None, library_problem=MISSING, launcher=None, promised=1)),
        "no_mpi_library",
        "note",
        (MISSING,),
        ("pip install",),
    ),
    "Slurm's tasks that are no ranks": (
        combined(world_of_one("Open MPI v5.0.11", ""), job(launcher=None, promised=1, tasks=8)),
        "tasks_not_started",
        "problem",
        ("8 tasks",),
        ("nnmpi launch -n 8", "SLURM_NTASKS"),
    ),
    "the launcher at hand is of another MPI": (
        combined(world_of_one("MPICH Version: 5.0.2", ""), job(launcher=None, promised=1)),
        "launcher_at_hand",
        "problem",
        ("/mpi/bin/mpiexec of Open MPI", "MPICH Version"),
        ("PATH", "MPI4PY_LIBMPI"),
    ),
    "no launcher at hand": (
        combined(
            world_of_one("MPICH Version: 5.0.2", ""),
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
        other_versions({"nnmpi": "0.0.9"}),
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
        docker_is_up,
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
