"""Keras on one process: seconds of a training step of ``model.fit``.

Variants: jax, torch or tensorflow (the backend); whole (all steps of an epoch in one call, by steps_per_execution).
"""

import os
import time

from shared import LEARNING_RATE, MOMENTUM, WARM_UP, answer, arguments, made_up

options = arguments()
backend = options.variant[0]
os.environ |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}

import keras  # noqa: E402  (the backend must be chosen first)

x, y = made_up(options.layers, options.batch * options.steps)
hidden = [keras.layers.Dense(n, activation="relu") for n in options.layers[1:-1]]
model = keras.Sequential([keras.Input((options.layers[0],)), *hidden, keras.layers.Dense(options.layers[-1])])
model.compile(
    optimizer=keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM, nesterov=True),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    steps_per_execution=options.steps if "whole" in options.variant else 1,
)


class Clock(keras.callbacks.Callback):
    """Measure the time of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stop the clock and store the seconds of a step."""
        self.seconds.append((time.perf_counter() - self.started) / options.steps)


clock = Clock()
model.fit(x, y, batch_size=options.batch, epochs=WARM_UP + options.chunks, shuffle=False, verbose=0, callbacks=[clock])
answer(clock.seconds[WARM_UP:], ["keras", {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow-cpu"}[backend]])
