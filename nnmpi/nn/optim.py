"""Optimizers: they know flat vectors only and update them in place.

Both take the *sum* gradient and the number of samples it was summed over. ``g`` below is the gradient of the mean
loss plus ``λW``; biases are not decayed. The state is one flat array each, so that it can be sent and saved whole.
"""

from collections.abc import Callable

import numpy as np

from nnmpi.nn.layers import Array


class SGD:
    """Stochastic gradient descent, with classical or Nesterov momentum.

    ``v = μv - ηg``; then ``w += v``, or ``w += μv - ηg`` with Nesterov's look-ahead (Sutskever et al. 2013, in the
    form that Keras and scikit-learn use). Without momentum ``w -= ηg`` and there is no state.
    """

    def __init__(self, parameters: Array, momentum: float, nesterov: bool) -> None:
        self._w = parameters
        self._momentum, self._nesterov = momentum, nesterov
        self.state: Array = np.zeros(parameters.size if momentum else 0, parameters.dtype)

    def update(self, gradient: Array, count: float, learning_rate: float, k: int) -> None:
        """One update; `gradient` is used up."""
        change = gradient
        np.multiply(change, -learning_rate / count, out=change)  # -ηg
        if self._momentum:
            v = self.state
            np.multiply(v, self._momentum, out=v)
            np.add(v, change, out=v)
            if self._nesterov:
                np.add(self._w, change, out=self._w)
                np.multiply(v, self._momentum, out=change)
            else:
                change = v
        np.add(self._w, change, out=self._w)


class Adam:
    """Adam (Kingma & Ba 2015) with the paper's β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.

    ``m = β₁m + (1-β₁)g``, ``v = β₂v + (1-β₂)g²``, ``w -= η √(1-β₂ᵗ)/(1-β₁ᵗ) · m / (√v + ε√(1-β₂ᵗ))``, t = k + 1: the
    paper's algorithm with its two bias corrections in one factor.
    """

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, parameters: Array) -> None:
        self._w = parameters
        self.state: Array = np.zeros(2 * parameters.size, parameters.dtype)
        self._scratch: Array = np.empty_like(parameters)

    def update(self, gradient: Array, count: float, learning_rate: float, k: int) -> None:
        """One update; `gradient` is used up."""
        g, scratch = gradient, self._scratch
        m, v = self.state[: g.size], self.state[g.size :]
        np.divide(g, count, out=g)
        np.multiply(m, self.beta1, out=m)
        np.multiply(g, 1 - self.beta1, out=scratch)
        np.add(m, scratch, out=m)
        np.multiply(v, self.beta2, out=v)
        np.square(g, out=g)
        np.multiply(g, 1 - self.beta2, out=g)
        np.add(v, g, out=v)
        correction2 = (1 - self.beta2 ** (k + 1)) ** 0.5
        np.sqrt(v, out=scratch)
        np.add(scratch, self.epsilon * correction2, out=scratch)
        np.divide(m, scratch, out=scratch)
        np.multiply(scratch, -learning_rate * correction2 / (1 - self.beta1 ** (k + 1)), out=scratch)
        np.add(self._w, scratch, out=self._w)


Optimizer = SGD | Adam

# name → function(parameters, momentum, nesterov)
OPTIMIZERS: dict[str, Callable[[Array, float, bool], Optimizer]] = {
    "sgd": SGD,
    "adam": lambda parameters, momentum, nesterov: Adam(parameters),
}
