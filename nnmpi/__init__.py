"""Data-parallel training of neural networks on any MPI cluster, in NumPy.

``nnmpi.MLPClassifier`` and ``nnmpi.MLPRegressor`` are estimators like those of scikit-learn with the same names.
``nnmpi.train`` does in Python what the command ``nnmpi train`` does. ``nnmpi.load`` loads a trained network. Everything
is imported at first use, so that ``import nnmpi`` takes no time and does not start MPI.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnmpi.call import Result, train
    from nnmpi.estimators import MLPClassifier, MLPRegressor
    from nnmpi.trained import TrainedNetwork, load

__version__ = "0.1.0"
__all__ = ["MLPClassifier", "MLPRegressor", "Result", "TrainedNetwork", "__version__", "load", "train"]

_MODULES = {
    "MLPClassifier": "nnmpi.estimators",
    "MLPRegressor": "nnmpi.estimators",
    "Result": "nnmpi.call",
    "TrainedNetwork": "nnmpi.trained",
    "load": "nnmpi.trained",
    "train": "nnmpi.call",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'nnmpi' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
