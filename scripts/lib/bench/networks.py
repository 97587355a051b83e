"""The benchmark networks, each with the batch of a rank and the length of a measurement."""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Network:
    """A network, the samples of a step on each rank, and the length of the measurement."""

    layers: tuple[int, ...]
    batch: int
    steps: int  # steps of an epoch
    epochs: int  # timed epochs; nnmpi runs one more first
    limit_seconds: float = 0.5  # measuring time for each part of the limit

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.layers))} ({self.batch})"

    @property
    def layers_flag(self) -> str:
        """The layers as ``64,32,10``."""
        return ",".join(map(str, self.layers))

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum((a + 1) * b for a, b in pairwise(self.layers))

    def lasting(self, seconds: float, ranks: int = 2) -> "Network":
        """Return the network with steps and epochs for about `seconds`, estimated from its operations, on two cores."""
        work = 6 * self.parameters * self.batch / 5e10 * max(1, ranks / 2) + 4e-5 * ranks
        steps = max(2, min(self.steps, round(seconds / 4 / work)))
        return Network(self.layers, self.batch, steps, max(3, min(self.epochs, round(seconds / steps / work))), 0.2)


TABLE = (
    Network((64, 32, 10), 32, 200, 200),
    Network((64, 128, 64, 10), 64, 100, 150),
    Network((784, 512, 512, 10), 128, 20, 24),
    Network((784, 2048, 2048, 10), 256, 6, 5),
)
QUICK = (Network((64, 128, 64, 10), 64, 10, 5, 0.1),)
