"""A step allocates no array: Python and NumPy allocate less in a step than the smallest array of the step."""

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from nnmpi.data.augment import Augmentation
from nnmpi.data.batches import Batches
from nnmpi.data.parts import Part
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.scaler import Scaler
from nnmpi.data.shards import Layout
from nnmpi.data.targets import Targets
from nnmpi.nn import activations, losses
from nnmpi.nn.architecture import Architecture, glorot_uniform
from nnmpi.nn.network import Network
from nnmpi.nn.optimizers import OPTIMIZERS, SGD
from nnmpi.nn.schedules import Schedule

# (batch size, shards, layer sizes, steps of an epoch, measured steps). Each has many parameters or many samples: a
# temporary array for a layer's parameters, or for one number of each sample, is then larger than ALLOWED.
SHAPES = {
    "parameters": (32, 8, (576, 512, 256), 40, range(8, 38)),  # the first layer is wide
    "samples": (100_000, 1, (4, 4, 4, 4), 2, range(2, 6)),
}
# bytes: If memory is not contiguous or types differ, NumPy uses a buffer of 8192 elements for each operand. Its size
# does not depend on the arrays. No other allocation comes near this bound.
ALLOWED = 4 * 8192 * 8
CASES = {
    "no momentum": {"momentum": 0.0, "nesterov": False},
    "momentum": {"nesterov": False},
    "nesterov": {},
    "adam": {"optimizer": "adam"},
    "dropout": {"dropout": 0.5},
    "noise": {"augment": ("noise",)},
    "all augmentation": {"augment": ("shift", "rotate", "noise")},
    "all at once": {"optimizer": "adam", "dropout": 0.5, "augment": ("shift", "rotate", "noise")},
    "deterministic": {"by_shard": True},
    "deterministic, all at once": {"by_shard": True, "dropout": 0.5, "augment": ("shift", "rotate", "noise")},
    **{name: {"activation": name} for name in activations.ACTIVATIONS},
    **{f"{loss} {output}": {"pair": (loss, output)} for loss in losses.LOSSES for output in losses.LOSSES[loss]},
}

QUICK = ("nesterov", "adam", "deterministic, all at once")


@dataclass
class Step:
    """A step on one rank, with all objects that ``train`` makes before its loop."""

    shape: str = "parameters"
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    pair: tuple[str, str] = ("cross-entropy", "softmax")
    activation: str = "relu"
    dropout: float = 0.0
    augment: tuple[str, ...] = ()
    dtype: str = "float32"
    by_shard: bool = False

    def __post_init__(self):
        batch_size, shards, sizes, self.steps, self.measured = SHAPES[self.shape]
        generator = np.random.default_rng(0)
        rows = batch_size * self.steps
        loss, output = self.pair
        outputs = 1 if loss == "binary-cross-entropy" else sizes[-1]
        targets_kind = {"identity": "numbers"}.get(output, "binary" if outputs == 1 else "one-hot")
        if targets_kind == "numbers":
            y, targets = generator.normal(size=(rows, outputs)), Targets(targets_kind, None, outputs)
        else:
            classes = np.arange(max(outputs, 2))
            y, targets = generator.integers(0, len(classes), rows), Targets(targets_kind, classes, outputs)
        x = np.ones((rows, 1 + sizes[0]), self.dtype)
        x[:, 1:] = generator.random((rows, sizes[0]))
        layout = Layout(rows, shards, batch_size)
        image = (int(sizes[0] ** 0.5),) * 2
        augmentation = Augmentation(self.augment, sizes[0], image, 1) if self.augment else None
        images = x[:, 1:].copy() if augmentation and augmentation.moves else None
        part = Part(x, y, [len(range(s, rows, shards)) for s in range(shards)], np.arange(rows), stored=images)
        scaler = Scaler(np.zeros(sizes[0]), np.ones(sizes[0]))
        architecture = Architecture((*sizes[:-1], outputs), self.activation, output, loss, self.dtype)
        parameters = glorot_uniform(architecture, stream(1, Purpose.PARAMETERS))
        largest, blocks = (layout.largest_microbatch, shards) if self.by_shard else (batch_size, 1)
        self.network = Network(architecture, parameters, largest, blocks, self.dropout)
        self.update = OPTIMIZERS[self.optimizer](parameters, self.momentum, self.nesterov)
        self.schedule = Schedule("inverse-time", 1e-3, self.steps, 1, decay=1e-3)
        self.vector = np.zeros(parameters.size + 2, self.dtype)
        self.views = [architecture.views(v[:-2]) for v in (self.vector, np.zeros_like(self.vector))]
        self.destinations = [(self.views[0], []), *((self.views[1], [self.views]) for _ in range(blocks - 1))]
        options = 1, augmentation, scaler, self.by_shard, self.bind
        self.batches = Batches(part, layout, range(shards), targets, *options)
        self.batches.start(0)

    def bind(self, inputs, targets):
        return self.network.bind(inputs, targets, self.destinations, training=True)

    def __call__(self, k):
        step = k % self.steps
        batch = self.batches.batch(step)
        if self.dropout:
            self.network.resize(batch.sizes)
            for shard, block, columns in self.batches.columns(step):
                self.network.draw_dropout(block, columns, stream(1, Purpose.DROPOUT, 0, step, shard))
        self.network.forward(batch)
        count = sum(batch.sizes)
        self.vector[-2] = sum(self.network.loss(batch))
        self.vector[-1] = count
        self.network.backward(batch)
        self.network.add_l2(self.views[0], 1e-4 * count)
        self.update.update(self.vector[:-2], divide_by=count, learning_rate=self.schedule(k), k=k)


def peak_of(step):
    """Return the peak of the bytes allocated during the measured steps."""
    with threadpool_limits(1, "blas"):
        for k in range(step.measured.start):
            step(k)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for k in step.measured:
                step(k)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()


def test_every_temporary_would_be_more_than_a_step_may_ask_for():
    assert min(view.nbytes for view in Step("parameters").views[0]) > ALLOWED
    assert Step("samples").network._memory.scratch(100_000).sums.nbytes > ALLOWED


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_step_allocates_no_array(case, shape, dtype):
    assert peak_of(Step(shape, dtype=dtype, **CASES[case])) < ALLOWED


def allocating_relu(z):
    def call():
        z[:] = z * (z > 0)

    return [call]


def allocating_l2(network, gradient, factor):
    for layer, out in zip(network.architecture.views(network.parameters), gradient, strict=True):
        out[1:] += factor * layer[1:]


def allocating_update(optimizer, gradient, divide_by, learning_rate, k):
    optimizer.state -= learning_rate / divide_by * gradient


def allocating_cross_entropy(z, t, delta, scratch):
    np.subtract(z, z.max(axis=0), out=z)  # one number a sample is allocated
    return losses.cross_entropy(z, t, delta, scratch)


@pytest.mark.parametrize(
    ("shape", "owner", "name", "allocating"),
    [
        ("samples", activations.ACTIVATIONS, "relu", (allocating_relu, activations.relu_slope)),
        ("samples", losses.LOSSES["cross-entropy"], "softmax", allocating_cross_entropy),
        ("parameters", Network, "add_l2", allocating_l2),
        ("parameters", SGD, "update", allocating_update),
    ],
    ids=["activation", "loss", "l2", "update"],
)
def test_a_planted_allocation_is_caught(shape, owner, name, allocating, monkeypatch):
    if isinstance(owner, dict):
        monkeypatch.setitem(owner, name, allocating)
    else:
        monkeypatch.setattr(owner, name, allocating)
    assert peak_of(Step(shape)) > ALLOWED
