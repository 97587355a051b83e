"""Learning-rate schedules: the factor on the initial learning rate for update ``k = 0, 1, …``."""

import math
from collections.abc import Callable


class Schedule:
    """The learning rate of each update of a run.

    In the first ``warmup_epochs``, which may be a fraction, the rate rises linearly to the value of the schedule (Goyal
    et al. 2017).
    """

    def __init__(
        self,
        name: str,
        learning_rate: float,
        updates_per_epoch: int,
        epochs: int,
        *,
        decay: float = 0.0,
        step_epochs: int = 1,
        step_factor: float = 1.0,
        warmup_epochs: float = 0.0,
    ) -> None:
        self.decay, self.step_factor = decay, step_factor
        self.step_updates = step_epochs * updates_per_epoch
        self.updates = epochs * updates_per_epoch
        self._learning_rate = learning_rate
        self._warmup = warmup_epochs * updates_per_epoch
        self._factor = SCHEDULES[name]

    def __call__(self, k: int) -> float:
        """Return the learning rate of update `k`."""
        warmup = (k + 1) / self._warmup if k + 1 < self._warmup else 1.0
        return self._learning_rate * warmup * self._factor(self, k)


def constant(s: Schedule, k: int) -> float:
    """``1``."""
    return 1.0


def inverse_time(s: Schedule, k: int) -> float:
    """``1 / (1 + decay k)``, as in Keras' original ``decay``."""
    return 1.0 / (1.0 + s.decay * k)


def step(s: Schedule, k: int) -> float:
    """``step_factor`` to the power of ``k // step_updates``."""
    return s.step_factor ** (k // s.step_updates)


def cosine(s: Schedule, k: int) -> float:
    """``(1 + cos(π k / updates)) / 2``: half a cosine from 1 down to 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(k / max(s.updates, 1), 1.0)))


SCHEDULES: dict[str, Callable[[Schedule, int], float]] = {
    "inverse-time": inverse_time,
    "constant": constant,
    "step": step,
    "cosine": cosine,
}
