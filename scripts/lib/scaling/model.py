"""A model of the time of a step, and its fit to measured steps.

A step computes gradients and adds up a vector of ``V`` bytes over ``H`` hosts with ``r`` ranks each. A link carries
``B`` bytes per second and has a delay of ``d`` seconds. Within a host the vector is in shared memory. Between hosts it
travels in a ring: ``2 (H-1)/H V`` bytes go into and out of each host (Patarasuk & Yuan 2009), divided among its ranks::

    between = 2 (H-1)/H V
    work = compute + (barrier + local V, if r > 1)
    copying = copy between / r
    wire = max(between / (efficiency B) - overlap compute, 0)
    hops = 2 (H-1) (hop + d)
    step = (work + √(copying² + wire²) + hops) (1 + spread √(2 ln ranks))

Some pieces of the vector are copied while others are on the wire: the longer of the two counts, and a part of the
shorter one, which the square root approximates. The last factor accounts for the slowest rank: the largest of ``n``
normally distributed times is about ``√(2 ln n)`` standard deviations above their mean. If ranks share cores, as on a
machine that emulates several hosts, their work and copying take ``max(1, ranks / cores)`` times as long. On a cluster
each rank has a core.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Setting:
    """Ranks, network and links of a step.

    `compute` is the time in seconds of a step without reduction of a rank with its own core. `cores` is the number of
    cores that all ranks share, or None if each rank has its own.
    """

    hosts: int
    each: int  # ranks on each host
    parameters: int
    compute: float
    bits_per_second: float
    delay: float = 0.0
    cores: int | None = None

    @property
    def ranks(self) -> int:
        """Number of ranks on all hosts."""
        return self.hosts * self.each


@dataclass(frozen=True)
class Model:
    """The fitted parameters; times in seconds."""

    hop: float  # time of a message to another host, without the link's delay
    efficiency: float  # fraction of a link's rate that is available for the vector
    copy: float  # time in which a core moves a byte into or out of a host and adds it up
    barrier: float  # time of the barrier of the ranks of one host
    local: float  # time to add up a byte of a rank in shared memory
    overlap: float  # fraction of compute during which bytes travel
    spread: float  # standard deviation of a rank's time, relative to it

    def step(self, s: Setting) -> float:
        """Return the seconds of a step."""
        size = FLOAT * s.parameters
        between = 2 * (s.hosts - 1) / s.hosts * size
        share = max(1.0, s.ranks / s.cores) if s.cores else 1.0
        work, copying = s.compute * share, self.copy * between / s.each * share
        if s.each > 1:
            work += (self.barrier + self.local * size) * share
        wire = max(between * 8 / (self.efficiency * s.bits_per_second) - self.overlap * s.compute, 0.0)
        hops = 2 * (s.hosts - 1) * (self.hop + s.delay)
        return (work + math.hypot(copying, wire) + hops) * (1 + self.spread * math.sqrt(2 * math.log(s.ranks)))


# initial value, lower and upper bound of each parameter
BOUNDS = {
    "hop": (5e-5, 1e-6, 5e-3),
    "efficiency": (0.9, 0.5, 0.956),  # at most 1448 bytes of data in a frame of 1514, the rest are headers
    "copy": (1e-9, 1e-11, 1e-7),
    "barrier": (1e-5, 1e-7, 5e-3),
    "local": (2e-10, 1e-12, 1e-8),
    "overlap": (0.2, 0.0, 1.0),
    "spread": (0.02, 0.0, 0.3),
}


def fit(settings: list[Setting], seconds: list[float]) -> Model:
    """Fit the model to measured seconds; the error of a step is the logarithm of predicted over measured time."""
    names = [field.name for field in fields(Model)]
    start, low, high = (np.array([BOUNDS[name][i] for name in names]) for i in range(3))
    positive = low > 0  # fitted on a logarithmic scale

    def model(x: npt.NDArray[np.float64]) -> Model:
        return Model(*np.where(positive, np.exp(np.where(positive, x, 0)), x).tolist())

    def scaled(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.where(positive, np.log(np.where(positive, x, 1)), x)

    def errors(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        candidate = model(x)
        return np.array([math.log(candidate.step(s) / t) for s, t in zip(settings, seconds, strict=True)])

    solution = least_squares(errors, scaled(start), bounds=(scaled(low), scaled(high)), loss="soft_l1", f_scale=0.05)
    return model(solution.x)


def compute_of(batch: float, samples: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64]) -> float:
    """Return the seconds of a step of `batch` samples on one rank, by a straight line fitted to measured steps."""
    slope, fixed = np.polyfit(samples, seconds, 1)
    return float(max(fixed, 0.3 * seconds.min()) + max(slope, 0.0) * batch)


def steps_to_accuracy(batch: float, fewest: float, critical: float) -> float:
    """Return the steps to an accuracy for a batch size: ``fewest (1 + critical / batch)`` (McCandlish et al. 2018)."""
    return fewest * (1 + critical / batch)
