"""A fitted estimator as the model that goes into a file for `nnmpi.load` and the commands."""

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.labels import as_labels, is_whole
from nnmpi.data.scaler import Scaler
from nnmpi.data.targets import Targets
from nnmpi.files.model import Model, Recipe
from nnmpi.nn.architecture import Architecture

LOSS_NAMES = {"half-squared-error": "mse"}  # losses that have another name in a model file


def model_of(architecture: Architecture, parameters: Array, classes: Array | None) -> Model:
    """Return the model of a network for these classes or labels, or for numbers if None. Samples are not scaled.

    Raises
    ------
    ValueError
        If a model file cannot hold it: labels that are neither text nor whole numbers nor booleans, one class only, or
        the Poisson loss.
    """
    outputs = architecture.sizes[-1]
    if architecture.loss == "poisson":
        raise ValueError("a model file cannot hold a network with loss='poisson': use pickle or joblib")
    if classes is None:
        targets = Targets("numbers", None, outputs)
    elif architecture.loss == "binary-cross-entropy" and outputs > 1:
        targets = Targets("labels", None, outputs, tuple(str(label) for label in classes.tolist()))
    else:
        if len(classes) < 2:
            raise ValueError("a model file cannot hold a network for one class only: use pickle or joblib")
        labels = classes.astype(str) if classes.dtype == object else classes
        if not (is_whole(labels) or labels.dtype.kind in "bU"):
            raise ValueError(f"a model file can hold labels of text, whole numbers or booleans, not {classes.dtype}")
        targets = Targets("binary" if outputs == 1 else "one-hot", as_labels(labels), outputs)
    file_architecture = Architecture(
        architecture.sizes,
        architecture.activation,
        architecture.output_activation,
        LOSS_NAMES.get(architecture.loss, architecture.loss),
        architecture.dtype,
    )
    features = architecture.sizes[0]
    identity = Scaler(np.zeros(features), np.ones(features))
    target_scaler = Scaler(np.zeros(outputs), np.ones(outputs)) if targets.task == "regression" else None
    recipe = Recipe("arrays", test_fraction=0.2, seed=0, stratify=False)  # placeholders: the origin is not known
    return Model(file_architecture, parameters, identity, target_scaler, targets, recipe)
