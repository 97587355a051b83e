"""``train --dry-run``: check all input and take a few steps of a training, without writing anything."""

import resource
import statistics
import time
from dataclasses import replace
from itertools import islice

import numpy as np

from nnmpi.commands.summary import duration, start_summary, table
from nnmpi.commands.terminal import WIDTH
from nnmpi.commands.trial import open_session, steps
from nnmpi.config import Config
from nnmpi.memory import usable_memory
from nnmpi.mpi.checks import training_threads
from nnmpi.mpi.world import World
from nnmpi.report.write import check_extras
from nnmpi.text import counted
from nnmpi.training.place import agree_on_place

STEPS = 3


def dry_run(config: Config, world: World) -> None:
    """Check all input, time a few steps and an evaluation; rank 0 prints the time, memory and disk of the whole run.

    Raises
    ------
    InputError
        On all ranks, for the same reasons as in a training.
    """
    check_extras(config, world)
    directory = agree_on_place(config, world, None).directory
    trial_config = replace(config, epochs=max(1, config.epochs), verify_replicas=False)
    began = time.perf_counter()
    session = open_session(trial_config, world)
    reading = time.perf_counter() - began

    first, *times = islice(steps(session), STEPS + 1)  # the first step allocates what the others use again
    step = statistics.median(times or [first])
    began = time.perf_counter()
    task = session.task
    for part in filter(None, (task.test, task.validation)):
        session.evaluate(part)
    evaluation = time.perf_counter() - began

    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peaks = world.gather_rows(np.array([[kib * 1024]]))[:, 0].tolist()
    hosts = world.addresses.hosts()
    threads = training_threads(world, config.deterministic, config.threads)
    host_peaks = [sum(peak for peak, host in zip(peaks, hosts, strict=True) if host == name) for name in set(hosts)]
    if world.rank == 0:
        all_steps = session.layout.steps * config.epochs
        checkpoint = sum(array.nbytes for array in session.checkpoint().arrays.values())
        rows = {
            "reading": duration(reading),
            "step": f"{1000 * step:,.3g} ms, {session.layout.batch_size / step:,.0f} samples/s; evaluation "
            f"{1000 * evaluation:,.3g} ms",
            "time": f"about {duration(reading + all_steps * step + config.epochs * evaluation)} in all, for "
            f"{counted(config.epochs, 'epoch')}, {counted(all_steps, 'step')}",
            "memory": f"{max(peaks) / 1e9:.2f} GB a rank, {max(host_peaks) / 1e9:.2f} GB of "
            f"{usable_memory() / 1e9:.1f} GB a host (measured)",
            "disk": f"{checkpoint / 1e6:,.1f} MB a checkpoint, {counted(config.keep, 'checkpoint')} kept",
        }
        print(start_summary(session, directory, threads, WIDTH))
        print(table(rows, WIDTH))
        print("dry run: nothing was written", flush=True)
