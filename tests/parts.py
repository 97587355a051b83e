"""Load a part of a source without standardizing its features and targets."""

import numpy as np

from nnmpi.data.held import HeldRows
from nnmpi.data.parts import Part
from nnmpi.data.scaler import Scaler
from nnmpi.data.targets import Targets
from nnmpi.training.samples import HeldSamples


def unscaled(features):
    return Scaler(np.zeros(features), np.ones(features))


def load_part(source, rows, shards, held, targets, dtype, keep=False) -> Part:
    held_rows = HeldRows(source, [rows], shards, held, dtype)
    target_scaler = unscaled(targets.outputs) if targets and targets.task == "regression" else None
    samples = HeldSamples(held_rows, targets or Targets("numbers", None, 1), targets is not None)
    return samples.parts(unscaled(source.features), target_scaler, dtype, keep)[0]
