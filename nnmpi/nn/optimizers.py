"""Optimizers: they know flat vectors only and update them in place.

Both take the *sum* gradient and the number of samples it was summed over. ``g`` below is the gradient of the mean
loss plus ``λW``; biases are not decayed. The state is one flat array each, so that it can be sent and saved whole.
Both leave zeros where the gradient was, each piece of it while it is in the cache: see `Network`'s `onto_zeros`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from nnmpi.memory import zeros
from nnmpi.nn.blas import Array, Call, factors, rotm

# Vectors are updated in pieces that stay in the cache between one operation and the next: an update of 5.8 million
# parameters then takes half of the time.
PIECE = 1 << 17
# Where the third-level cache holds all three vectors, SGD's few passes go over the whole of them: that leaves the
# parameters in the cache rather than the momentum, and a step of 784-512-512-10 takes 4 % less.
WHOLE = 1 << 20


def pieces(size: int, whole: int = 0) -> list[slice]:
    """The pieces of a vector of `size` numbers; at most one if they are no more than `whole`."""
    length = PIECE if size > whole else max(size, 1)
    return [slice(start, start + length) for start in range(0, size, length)]


class SGD:
    """Stochastic gradient descent, with classical or Nesterov momentum.

    ``v = μv - ηg``; then ``w += v``, or ``w += μv - ηg`` with Nesterov's look-ahead (Sutskever et al. 2013, in the
    form that Keras and scikit-learn use). Without momentum ``w -= ηg`` and there is no state. The state is ``μv``: what
    both this update's look-ahead and the next update's first term need.

    `replicas` of `parameters` get the same. `before` gives the calls that make a piece of the gradient what it is to
    be, just before it is used.

    With `blas` two passes do it. The first makes of the state ``s`` and the gradient ``μ(s - ηg)`` and what is to be
    added to `w`: ``s - ηg``, or ``μs - (1 + μ)ηg`` with Nesterov. The second adds it and clears it. All ranks must then
    have the same `nnmpi.nn.blas.fingerprint`.
    """

    def __init__(
        self,
        parameters: Array,
        momentum: float,
        nesterov: bool,
        blas: bool = False,
        replicas: Sequence[Array] = (),
        before: Callable[[slice], list[Call]] = lambda piece: [],
    ) -> None:
        self.state: Array = zeros(parameters.size if momentum else 0, parameters.dtype)
        self._replicas, self._before = [*replicas, parameters], before
        self._momentum, self._nesterov, self._blas = momentum, nesterov, blas
        kind = parameters.dtype
        self._rate: Array = np.zeros((), kind)
        self._mix, self._add, self._add_and_clear = (factors(kind) for _ in range(3))
        self._mix[3:] = [momentum if nesterov else 1, momentum]
        self._add[1:], self._add_and_clear[1:] = [1, 1, 0, 1], [0, 1, 0, 1]
        # what follows the rate, -η / count: of which numbers, at which place, by which factor
        self._following: list[tuple[Any, Any, float]] = [(self._rate, (), 1)]
        if blas and momentum:
            self._following = [(self._mix, 1, 1 + momentum if nesterov else 1), (self._mix, 2, momentum)]
        elif blas:
            self._following = [(self._add, 2, 1), (self._add_and_clear, 2, 1)]
        self._gradient: Array | None = None
        self._calls: list[Call] = []

    def update(self, gradient: Array, count: float, learning_rate: float, k: int) -> None:
        """One update; `gradient` is zeros after it."""
        if gradient is not self._gradient:  # it is the same one in every step
            self._gradient, bind = gradient, self._with_blas if self._blas else self._with_numpy
            # from the end on, so that what the next step begins with is in the cache
            self._calls = [
                call
                for piece in reversed(pieces(gradient.size, WHOLE))
                for call in (
                    *self._before(piece),
                    *bind(gradient[piece], [w[piece] for w in self._replicas], self.state[piece]),
                )
            ]
        rate = -learning_rate / count
        for numbers, place, factor in self._following:
            numbers[place] = factor * rate
        for call in self._calls:
            call()

    def _with_blas(self, g: Array, replicas: list[Array], v: Array) -> list[Call]:
        """The calls for a piece of the vectors; `v` is the state ``μv``."""
        *others, last = replicas
        mix = [rotm(g, v, self._mix)] if v.size else []
        return [*mix, *(rotm(g, w, self._add) for w in others), rotm(g, last, self._add_and_clear)]

    def _with_numpy(self, g: Array, replicas: list[Array], v: Array) -> list[Call]:
        step = partial(np.multiply, g, self._rate, g)  # -ηg
        move, clear = [partial(np.add, w, g, w) for w in replicas], partial(np.ndarray.fill, g, 0)
        if not v.size:
            return [step, *move, clear]
        # NumPy converts a Python float anew in each call, for 0.3 µs
        now = [partial(np.add, v, g, v), partial(np.multiply, v, np.array(self._momentum, g.dtype), v)]
        look_ahead = [partial(np.add, w, v, w) for w in replicas]
        if self._nesterov:
            return [step, *move, *now, *look_ahead, clear]
        return [step, *move, *look_ahead, *now, clear]


class Adam:
    """Adam (Kingma & Ba 2015) with the paper's β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.

    ``m = β₁m + (1-β₁)g``, ``v = β₂v + (1-β₂)g²``, ``w -= η √(1-β₂ᵗ)/(1-β₁ᵗ) · m / (√v + ε√(1-β₂ᵗ))``, t = k + 1: the
    paper's algorithm with its two bias corrections in one factor.
    """

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, parameters: Array) -> None:
        self.state: Array = zeros(2 * parameters.size, parameters.dtype)
        m, v = np.split(self.state, 2)
        self._pieces = [(piece, parameters[piece], m[piece], v[piece]) for piece in pieces(parameters.size)]
        self._scratch: Array = np.empty(min(parameters.size, PIECE), parameters.dtype)

    def update(self, gradient: Array, count: float, learning_rate: float, k: int) -> None:
        """One update; `gradient` is zeros after it."""
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
            g.fill(0)


Optimizer = SGD | Adam

# name → function(parameters, momentum, nesterov, blas)
OPTIMIZERS: dict[str, Callable[[Array, float, bool, bool], Optimizer]] = {
    "sgd": SGD,
    "adam": lambda parameters, momentum, nesterov, blas: Adam(parameters),
}
