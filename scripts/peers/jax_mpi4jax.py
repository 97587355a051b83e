"""JAX on several processes that add up their gradients with mpi4jax: seconds of a training step, compiled as a whole.

Variants: scan (``lax.scan`` over all steps of a chunk, in one call), else one call of the compiled step for each.
All gradients travel in one ``allreduce``, which is faster than one for each array.
"""

import jax
import jax.numpy as jnp
import mpi4jax
from jax import lax
from jax.flatten_util import ravel_pytree
from mpi4py import MPI
from shared import LEARNING_RATE, MOMENTUM, answer, arguments, made_up, time_chunks

comm = MPI.COMM_WORLD
asked = arguments()
keys = jax.random.split(jax.random.key(0), len(asked.layers))
glorot = jax.nn.initializers.glorot_uniform()
pairs = zip(keys, asked.layers, asked.layers[1:], strict=False)
start, as_layers = ravel_pytree([(glorot(key, (a, b)), jnp.zeros(b)) for key, a, b in pairs])
state = (start, jnp.zeros_like(start))

x, y = made_up(asked.layers, asked.batch * asked.steps, seed=comm.rank)
x = jnp.asarray(x).reshape(asked.steps, asked.batch, -1)
y = jax.nn.one_hot(y, asked.layers[-1]).reshape(asked.steps, asked.batch, -1)


def loss(parameters, x, y):
    """Mean cross-entropy of a batch."""
    *hidden, (weight, bias) = as_layers(parameters)
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(x @ weight + bias), axis=1))


def step(state, batch):
    """One update with Nesterov momentum, by the mean gradient over all processes."""
    parameters, velocity = state
    gradient = mpi4jax.allreduce(jax.grad(loss)(parameters, *batch), op=MPI.SUM, comm=comm) / comm.size
    velocity = MOMENTUM * velocity - LEARNING_RATE * gradient
    return (parameters + MOMENTUM * velocity - LEARNING_RATE * gradient, velocity), None


many = jax.jit(lambda state, x, y: lax.scan(step, state, (x, y))[0], donate_argnums=0)
one = jax.jit(lambda state, x, y: step(state, (x, y))[0], donate_argnums=0)
batches = list(zip(x, y, strict=True))


def chunk() -> None:
    """All steps of a chunk, and wait for them."""
    global state
    if "scan" in asked.variant:
        state = many(state, x, y)
    else:
        for inputs, targets in batches:
            state = one(state, inputs, targets)
    jax.block_until_ready(state)


seconds = time_chunks(chunk, asked)
if comm.rank == 0:
    answer(seconds, ["jax", "mpi4jax"])
