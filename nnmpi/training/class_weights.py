"""The weights of classes for ``--class-weight``: balanced, or from a file."""

import csv
import io
import json
import math
import os
from typing import Any

import numpy as np

from nnmpi.arrays import Floats, Indices
from nnmpi.data.targets import Targets
from nnmpi.data.weights import check_largest_weight
from nnmpi.errors import InputError
from nnmpi.mpi.world import World
from nnmpi.text import listed

LARGEST_FILE = 1 << 24  # bytes

WAYS = ("none", "balanced")


def class_weights(way: str, targets: Targets, codes: Indices, world: World) -> Floats | None:
    """Return the weight of each class for ``--class-weight``; None stands for 1 each. All ranks take part.

    Parameters
    ----------
    way
        ``none``; ``balanced``, which is samples / (classes · samples of the class) in the training part, over the
        classes that occur there; or the path of a file.
    codes
        The class codes of the training samples of this rank.

    Raises
    ------
    InputError
        On all ranks, if the file cannot be read or names an unknown class, or the targets are not classes.
    """
    if way == "none":
        return None
    if targets.task != "classification":
        actual = "multilabel" if targets.task == "multilabel" else "numbers"
        raise InputError(
            f"--class-weight {way} is for classes, but the targets are {actual}; leave it out", shared=True
        )
    classes = targets.classes
    assert classes is not None
    if way == "balanced":
        counts = world.gather_rows(np.bincount(codes, minlength=len(classes))[None]).sum(axis=0)
        present = counts > 0
        return np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 1.0)
    content: bytes | None = None
    with world.together():
        if world.rank == 0:
            content = _read(way)
    text = world.broadcast_bytes(content)
    with world.together():
        return _weights_of(_parse(text, way), [str(label) for label in classes.tolist()], way)


def _read(path: str) -> bytes:
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe may never end
            raise ValueError("not a file")
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--class-weight {path}: cannot be read ({reason}); allowed are {', '.join(WAYS)} and the path of a JSON "
            "or CSV file"
        ) from None
    if len(content) > LARGEST_FILE:
        raise InputError(f"--class-weight {path}: larger than {LARGEST_FILE >> 20} MB; is it a file of class weights?")
    return content


def _parse(content: bytes, path: str) -> dict[str, Any]:
    """Return the weights by label from a JSON object, or from CSV lines ``label,weight``."""
    try:
        text = content.decode("utf-8-sig")
        if text.lstrip().startswith("{"):
            pairs = json.loads(text, object_pairs_hook=list)
        else:
            pairs = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
            if len(pairs) > 1 and not _is_number(pairs[0][-1]):
                del pairs[0]  # the header
        weights: dict[str, Any] = {}
        for label, weight in pairs:
            if label in weights:
                raise InputError(f"--class-weight {path}: names the class {label} twice")
            weights[label] = weight
    except (ValueError, TypeError, csv.Error, RecursionError) as error:
        raise InputError(
            f'--class-weight {path}: write a JSON object such as {{"late": 3.5, "on time": 1}}, or a CSV line '
            f"late,3.5 for each class ({error})"
        ) from None
    return weights


def _weights_of(weights: dict[str, Any], labels: list[str], path: str) -> Floats:
    unknown = [label for label in weights if label not in labels]
    if unknown:
        known = listed(labels, 10)
        raise InputError(f"--class-weight {path}: there is no class {unknown[0]!r}; the classes are {known}")
    values = []
    for label in labels:
        value = weights.get(label, 1.0)
        if isinstance(value, bool) or not _is_number(value) or not 0 <= float(value) < math.inf:
            raise InputError(f"--class-weight {path}: the weight of {label} is {value}; allowed are numbers from 0")
        values.append(float(value))
    of_classes = np.array(values)
    check_largest_weight(of_classes, f"--class-weight {path}: the weights")
    return of_classes


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str | int | float) and not math.isnan(float(value))
    except (ValueError, OverflowError):
        return False
