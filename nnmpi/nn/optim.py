"""Optimizers: they know flat vectors only and update them in place.

Both take the *sum* gradient and the number of samples it was summed over. ``g`` below is the gradient of the mean
loss plus ``λW``; biases are not decayed. The state is one flat array each, so that it can be sent and saved whole.
"""

from collections.abc import Callable

import numpy as np

from nnmpi.nn.layers import Array

# Vectors are updated in pieces that stay in the cache between one operation and the next: an update of 5.8 million
# parameters then takes half of the time.
PIECE = 1 << 17


def pieces(size: int) -> list[slice]:
    """The pieces of a vector of `size` numbers."""
    return [slice(start, start + PIECE) for start in range(0, size, PIECE)]


class SGD:
    """Stochastic gradient descent, with classical or Nesterov momentum.

    ``v = μv - ηg``; then ``w += v``, or ``w += μv - ηg`` with Nesterov's look-ahead (Sutskever et al. 2013, in the
    form that Keras and scikit-learn use). Without momentum ``w -= ηg`` and there is no state. The state is ``μv``: what
    both this update's look-ahead and the next update's first term need.
    """

    def __init__(self, parameters: Array, momentum: float, nesterov: bool) -> None:
        self.state: Array = np.zeros(parameters.size if momentum else 0, parameters.dtype)
        self._pieces = [(piece, parameters[piece], self.state[piece]) for piece in pieces(parameters.size)]
        # NumPy converts a Python float anew in each call, for 0.3 µs
        self._momentum = np.array(momentum, parameters.dtype)
        self._factor = np.zeros((), parameters.dtype)
        self._nesterov = nesterov

    def update(self, gradient: Array, count: float, learning_rate: float, k: int) -> None:
        """One update; `gradient` is used up."""
        self._factor[()] = -learning_rate / count
        for piece, w, v in self._pieces:
            change = gradient[piece]
            np.multiply(change, self._factor, out=change)  # -ηg
            if not v.size:
                np.add(w, change, out=w)
                continue
            np.add(v, change, out=v)
            if self._nesterov:
                np.add(w, change, out=w)
                np.multiply(v, self._momentum, out=v)
                np.add(w, v, out=w)
            else:
                np.add(w, v, out=w)
                np.multiply(v, self._momentum, out=v)


class Adam:
    """Adam (Kingma & Ba 2015) with the paper's β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.

    ``m = β₁m + (1-β₁)g``, ``v = β₂v + (1-β₂)g²``, ``w -= η √(1-β₂ᵗ)/(1-β₁ᵗ) · m / (√v + ε√(1-β₂ᵗ))``, t = k + 1: the
    paper's algorithm with its two bias corrections in one factor.
    """

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, parameters: Array) -> None:
        self.state: Array = np.zeros(2 * parameters.size, parameters.dtype)
        m, v = np.split(self.state, 2)
        self._pieces = [(piece, parameters[piece], m[piece], v[piece]) for piece in pieces(parameters.size)]
        self._scratch: Array = np.empty(min(parameters.size, PIECE), parameters.dtype)

    def update(self, gradient: Array, count: float, learning_rate: float, k: int) -> None:
        """One update; `gradient` is used up."""
        correction2 = (1 - self.beta2 ** (k + 1)) ** 0.5
        rate = -learning_rate * correction2 / (1 - self.beta1 ** (k + 1))
        for piece, w, m, v in self._pieces:
            g, scratch = gradient[piece], self._scratch[: w.size]
            np.divide(g, count, out=g)
            np.multiply(m, self.beta1, out=m)
            np.multiply(g, 1 - self.beta1, out=scratch)
            np.add(m, scratch, out=m)
            np.multiply(v, self.beta2, out=v)
            np.square(g, out=g)
            np.multiply(g, 1 - self.beta2, out=g)
            np.add(v, g, out=v)
            np.sqrt(v, out=scratch)
            np.add(scratch, self.epsilon * correction2, out=scratch)
            np.divide(m, scratch, out=scratch)
            np.multiply(scratch, rate, out=scratch)
            np.add(w, scratch, out=w)


Optimizer = SGD | Adam

# name → function(parameters, momentum, nesterov)
OPTIMIZERS: dict[str, Callable[[Array, float, bool], Optimizer]] = {
    "sgd": SGD,
    "adam": lambda parameters, momentum, nesterov: Adam(parameters),
}
