"""JAX on one process: seconds of a compiled training step.

Variants: scan (``lax.scan`` over all steps of a chunk, in one call); without it, one call of the compiled step for each
step; gather (each step gathers its samples from the whole data set by index, as shuffled data need it).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax_network import loss, start
from shared import LEARNING_RATE, MOMENTUM, answer, arguments, made_up, time_chunks

options = arguments()
key, shuffling = jax.random.split(jax.random.key(0))
parameters = start(options.layers, key)
state = (parameters, jax.tree.map(jnp.zeros_like, parameters))

x, y = made_up(options.layers, options.batch * options.steps)
all_x, all_y = jnp.asarray(x), jax.nn.one_hot(y, options.layers[-1])
x, y = (a.reshape(options.steps, options.batch, -1) for a in (all_x, all_y))


def step(state, batch):
    """Make one update with Nesterov momentum."""
    parameters, velocity = state
    gradient = jax.grad(loss)(parameters, *batch)
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v - LEARNING_RATE * g, velocity, gradient)
    parameters = jax.tree.map(lambda w, v, g: w + MOMENTUM * v - LEARNING_RATE * g, parameters, velocity, gradient)
    return (parameters, velocity), None


many = jax.jit(lambda state, x, y: lax.scan(step, state, (x, y))[0], donate_argnums=0)
one = jax.jit(lambda state, x, y: step(state, (x, y))[0], donate_argnums=0)
gathering = jax.jit(lambda state, n, x, y: step(state, (x[n], y[n]))[0], donate_argnums=0)
batches = list(zip(x, y, strict=True))
numbers = list(jax.random.permutation(shuffling, options.steps * options.batch).reshape(options.steps, options.batch))


def chunk() -> None:
    """Run all steps of a chunk and wait for them."""
    global state
    if "scan" in options.variant:
        state = many(state, x, y)
    elif "gather" in options.variant:
        for n in numbers:
            state = gathering(state, n, all_x, all_y)
    else:
        for inputs, targets in batches:
            state = one(state, inputs, targets)
    jax.block_until_ready(state)


answer(time_chunks(chunk, options), ["jax", "jaxlib"])
