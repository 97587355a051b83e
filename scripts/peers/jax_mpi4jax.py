"""JAX on several processes that add up their gradients with mpi4jax: seconds of a compiled training step.

Variants: scan (``lax.scan`` over all steps of a chunk, in one call); without it, one call of the compiled step for each
step. One ``allreduce`` adds up all gradients, which is faster than one for each array.
"""

import jax
import jax.numpy as jnp
import mpi4jax
from jax import lax
from jax.flatten_util import ravel_pytree
from jax_network import loss, start
from mpi4py import MPI
from shared import LEARNING_RATE, MOMENTUM, answer, arguments, made_up, time_chunks

comm = MPI.COMM_WORLD
options = arguments()
vector, as_layers = ravel_pytree(start(options.layers, jax.random.key(0)))
state = (vector, jnp.zeros_like(vector))

x, y = made_up(options.layers, options.batch * options.steps, seed=comm.rank)
x = jnp.asarray(x).reshape(options.steps, options.batch, -1)
y = jax.nn.one_hot(y, options.layers[-1]).reshape(options.steps, options.batch, -1)


def step(state, batch):
    """Make one update with Nesterov momentum, with the mean gradient over all processes."""
    parameters, velocity = state
    gradient = jax.grad(lambda vector: loss(as_layers(vector), *batch))(parameters)
    gradient = mpi4jax.allreduce(gradient, op=MPI.SUM, comm=comm) / comm.size
    velocity = MOMENTUM * velocity - LEARNING_RATE * gradient
    return (parameters + MOMENTUM * velocity - LEARNING_RATE * gradient, velocity), None


many = jax.jit(lambda state, x, y: lax.scan(step, state, (x, y))[0], donate_argnums=0)
one = jax.jit(lambda state, x, y: step(state, (x, y))[0], donate_argnums=0)
batches = list(zip(x, y, strict=True))


def chunk() -> None:
    """Run all steps of a chunk and wait for them."""
    global state
    if "scan" in options.variant:
        state = many(state, x, y)
    else:
        for inputs, targets in batches:
            state = one(state, inputs, targets)
    jax.block_until_ready(state)


seconds = time_chunks(chunk, options)
if comm.rank == 0:
    answer(seconds, ["jax", "mpi4jax"])
