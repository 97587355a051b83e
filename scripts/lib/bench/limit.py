"""Time the necessary parts of a step, each alone: matrix products, Allreduce, update. Run it with mpiexec.

All ranks run the same part at the same time, because they share the memory bandwidth. The matrix products are those of
forward, weight gradient and backward, into preallocated arrays, without biases, with the samples of a batch in rows and
in columns, with np.matmul and np.dot; the fastest variant counts. They run repeatedly in the order of a step.

"reduction" is nnmpi's own reduction instead of the Allreduce. "update" is the time of reduction and update together
minus that of the reduction. "together" is a loop of the fastest products and this reduction, in which ranks wait for
each other as in a step; "updating" is the same loop with the update. In both, the gradients of the products are
reduced. The printed seconds are medians over chunks on the slowest rank.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.optimizers import SGD
from nnmpi.reduction.allreduce import native
from nnmpi.reduction.step_vector import TAIL

CHUNKS = 15

Array = np.ndarray
Product = tuple[Array, Array, Array]


def main() -> None:
    """Measure and print one line of JSON on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=lambda text: [int(n) for n in text.split(",")], required=True)
    parser.add_argument("--batch", type=int, required=True, help="samples of a step on each rank")
    parser.add_argument("--seconds", type=float, default=0.5, help="measuring time for each part")
    options = parser.parse_args()
    comm = MPI.COMM_WORLD
    architecture = Architecture(tuple(options.layers), "relu", "softmax", "cross-entropy", "float32")
    batch, length = options.batch, architecture.parameters

    with threadpool_limits(limits=1, user_api="blas"):
        ways: dict[str, float] = {}
        chosen = {}
        vectors = drawn(length), drawn(length)
        for multiply, make in itertools.product((np.matmul, np.dot), (in_rows, in_columns)):
            name = f"{multiply.__name__} {make.__name__}"
            chosen[name] = multiply, make
            ways[name] = time_alone(comm, multiply_all(multiply, make(architecture, batch, *vectors)), options.seconds)
        fastest = comm.bcast(min(ways, key=ways.__getitem__))
        vector = np.zeros(length + TAIL, np.float32)
        buffer = [vector, MPI.FLOAT]
        allreduce = time_alone(comm, lambda: comm.Allreduce(MPI.IN_PLACE, buffer), options.seconds)
        world = World(MPI)
        own = native(world, [length], len(vector), "float32", None)
        reduction = time_alone(comm, own.reduce, options.seconds)
        parameters, gradient = drawn(length), own.vectors[0][:-TAIL]
        optimizer = SGD(parameters, momentum=0.9, nesterov=True)

        def reduce_and_update() -> None:
            own.reduce()
            optimizer.update(gradient, divide_by=batch, learning_rate=1e-20, k=0)  # keeps the parameters

        update = time_alone(comm, reduce_and_update, options.seconds) - reduction
        multiply, make = chosen[fastest]
        products = multiply_all(multiply, make(architecture, batch, parameters, gradient))
        together = time_alone(comm, lambda: (products(), own.reduce()), options.seconds)
        updating = time_alone(comm, lambda: (products(), reduce_and_update()), options.seconds)
    if comm.rank == 0:
        results = {"products": ways[fastest], "ways": ways, "together": together, "updating": updating}
        results |= {"allreduce": allreduce, "reduction": reduction, "update": update, "parameters": length}
        print(json.dumps(results))


def in_rows(architecture: Architecture, batch: int, parameters: Array, gradient: Array) -> list[Product]:
    """Return the products of a step as (factor, factor, result), a sample in each row: ``X W``, ``Xᵀ Δ``, ``Δ Wᵀ``."""
    h, delta = ([drawn(batch * units).reshape(batch, units).T for units in architecture.sizes] for _ in range(2))
    step = in_order(weights(architecture, parameters), weights(architecture, gradient), h, delta)
    return [(a, b, c) if c.flags.c_contiguous else (b.T, a.T, c.T) for a, b, c in step]


def in_columns(architecture: Architecture, batch: int, parameters: Array, gradient: Array) -> list[Product]:
    """Return the same with a sample in each column: ``Wᵀ X``, ``X Δᵀ``, ``W Δ``."""
    h, delta = ([drawn(units * batch).reshape(units, batch) for units in architecture.sizes] for _ in range(2))
    return in_order(weights(architecture, parameters), weights(architecture, gradient), h, delta)


def in_order(w: list[Array], gradients: list[Array], h: list[Array], delta: list[Array]) -> list[Product]:
    """Return the products in the order of a step; `h` and `delta` of each layer have the shape (units, batch)."""
    step = [(w[i].T, h[i], h[i + 1]) for i in range(len(w))]
    for i in reversed(range(len(w))):
        step.append((h[i], delta[i + 1].T, gradients[i]))
        if i:  # the data need no gradient
            step.append((w[i], delta[i + 1], delta[i]))
    return step


def weights(architecture: Architecture, vector: Array) -> list[Array]:
    """Return views of each layer's weights in a vector of parameters, shape (fan_in, fan_out), without the biases."""
    return [layer[1:] for layer in architecture.views(vector)]


def drawn(count: int) -> Array:
    """Return normally distributed numbers, like those of a network."""
    return np.random.default_rng(0).standard_normal(count, dtype=np.float32)


def multiply_all(multiply: Callable[[Array, Array, Array], object], products: list[Product]) -> Callable[[], None]:
    """Return a function that computes all products."""

    def call() -> None:
        for a, b, result in products:
            multiply(a, b, result)

    return call


def time_alone(comm: MPI.Comm, call: Callable[[], object], seconds: float) -> float:
    """Return the seconds of a call on the slowest rank, the median over chunks of about ``seconds / CHUNKS``."""
    call()
    started = time.perf_counter()
    call()
    once = comm.allreduce(time.perf_counter() - started, MPI.MAX)  # so that all ranks call equally often
    repeats = max(1, round(seconds / CHUNKS / once))
    for _ in range(repeats):
        call()
    comm.Barrier()
    chunks = []
    for _ in range(CHUNKS):
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        chunks.append((time.perf_counter() - started) / repeats)
    return float(comm.allreduce(statistics.median(chunks), MPI.MAX))


if __name__ == "__main__":
    main()
