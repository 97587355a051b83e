"""Optimizers. They know only flat vectors, and update them in place.

``optimizer.update(gradient, divide_by=weights, learning_rate=η, k=k)`` takes the *sum* gradient over the global batch
and divides it by the sum of the weights there (the number of samples, if there are no weights); ``g`` below is the
quotient. It overwrites the gradient. The state is one flat array, so that it can be sent and saved whole.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from nnmpi.arrays import Array
from nnmpi.nn.calls import Call

# Numbers in a piece of a vector. A piece stays in the second-level cache from one operation of an update to the next:
# a step of 784-512-512-10 takes 3 % less time than with whole vectors (docs/decisions.md).
PIECE = 1 << 16


def pieces(size: int) -> list[slice]:
    """Return the pieces of a vector of `size` numbers."""
    return [slice(start, start + PIECE) for start in range(0, size, PIECE)]


class SGD:
    """Stochastic gradient descent, with classical or Nesterov momentum.

    ``v = μv - ηg``; then ``w += v``, or ``w += μv - ηg`` with Nesterov's look-ahead (Sutskever et al. 2013, in the
    form that Keras and scikit-learn use). Without momentum ``w -= ηg`` and there is no state. The state is ``μv``,
    which the look-ahead of this update and the first term of the next one need.
    """

    def __init__(self, parameters: Array, momentum: float, nesterov: bool) -> None:
        self.state: Array = np.zeros(parameters.size if momentum else 0, parameters.dtype)
        self._parameters, self._nesterov = parameters, nesterov
        # 0-d arrays: each call would convert a Python float, for 0.3 µs
        self._momentum: Array = np.array(momentum, parameters.dtype)
        self._rate: Array = np.zeros((), parameters.dtype)
        self._gradient: Array | None = None
        self._calls: list[Call] = []

    def update(self, gradient: Array, *, divide_by: float, learning_rate: float, k: int) -> None:
        """Update the parameters with `gradient`, a sum, divided by `divide_by`; `k` counts the updates from 0."""
        if gradient is not self._gradient:  # the same one in every step
            self._gradient = gradient
            w, v = self._parameters, self.state
            self._calls = [call for p in pieces(w.size) for call in self._bind(gradient[p], w[p], v[p])]
        self._rate[()] = -learning_rate / divide_by
        for call in self._calls:
            call()

    def _bind(self, g: Array, w: Array, v: Array) -> list[Call]:
        """Return the calls for a piece of the vectors; `v` is the state ``μv``."""
        step = partial(np.multiply, g, self._rate, g)  # -ηg
        if not v.size:
            return [step, partial(np.add, w, g, w)]
        velocity = partial(np.add, v, g, v)
        damped = partial(np.multiply, v, self._momentum, v)
        if self._nesterov:
            return [step, partial(np.add, w, g, w), velocity, damped, partial(np.add, w, v, w)]
        return [step, velocity, partial(np.add, w, v, w), damped]


class Adam:
    """Adam (Kingma & Ba 2015). The defaults are the paper's β₁, β₂ and ε.

    ``m = β₁m + (1-β₁)g``, ``v = β₂v + (1-β₂)g²``, ``w -= η √(1-β₂ᵗ)/(1-β₁ᵗ) · m / (√v + ε√(1-β₂ᵗ))``, t = k + 1: the
    paper's algorithm with its two bias corrections in one factor.

    Without `correct_epsilon` the last term is ``ε``, as in scikit-learn.

    The state is ``m`` and ``u = v (1-β₁)² / (1-β₂)``. The update ``u = β₂u + ((1-β₁)g)²`` then uses the product
    ``(1-β₁)g`` that ``m`` needs, too: an update passes 11 times over a piece.
    """

    def __init__(
        self,
        parameters: Array,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        correct_epsilon: bool = True,
    ) -> None:
        self.beta1, self.beta2, self.epsilon, self._correct_epsilon = beta1, beta2, epsilon, correct_epsilon
        self.state: Array = np.zeros(2 * parameters.size, parameters.dtype)
        self._parameters = parameters
        self._scale = (1 - self.beta2) ** 0.5 / (1 - self.beta1)  # √v = scale · √u
        self._beta1, self._beta2 = (np.array(beta, parameters.dtype) for beta in (beta1, beta2))
        # values that change from step to step; 0-d arrays, as in SGD
        self._share, self._rate, self._epsilon = (np.zeros((), parameters.dtype) for _ in range(3))
        self._gradient: Array | None = None
        self._calls: list[Call] = []

    def update(self, gradient: Array, *, divide_by: float, learning_rate: float, k: int) -> None:
        """Update the parameters with `gradient`, a sum, divided by `divide_by`; `k` counts the updates from 0."""
        if gradient is not self._gradient:  # the same one in every step
            self._gradient = gradient
            w, (m, u) = self._parameters, np.split(self.state, 2)
            self._calls = [call for p in pieces(w.size) for call in self._bind(gradient[p], w[p], m[p], u[p])]
        correction2 = (1 - self.beta2 ** (k + 1)) ** 0.5
        self._share[()] = (1 - self.beta1) / divide_by
        self._rate[()] = -learning_rate * correction2 / (1 - self.beta1 ** (k + 1)) / self._scale
        self._epsilon[()] = self.epsilon * (correction2 if self._correct_epsilon else 1.0) / self._scale
        for call in self._calls:
            call()

    def _bind(self, g: Array, w: Array, m: Array, u: Array) -> list[Call]:
        """Return the calls for a piece of the vectors."""
        return [
            partial(np.multiply, g, self._share, g),
            partial(np.multiply, m, self._beta1, m),
            partial(np.add, m, g, m),
            partial(np.square, g, g),
            partial(np.multiply, u, self._beta2, u),
            partial(np.add, u, g, u),
            partial(np.sqrt, u, g),
            partial(np.add, g, self._epsilon, g),
            partial(np.divide, m, g, g),
            partial(np.multiply, g, self._rate, g),
            partial(np.add, w, g, w),
        ]


Optimizer = SGD | Adam

# name → function(parameters, momentum, nesterov)
OPTIMIZERS: dict[str, Callable[[Array, float, bool], Optimizer]] = {
    "sgd": SGD,
    "adam": lambda parameters, momentum, nesterov: Adam(parameters),
}
