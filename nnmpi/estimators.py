"""scikit-learn's face of nnmpi: its two multilayer perceptrons, trained on all ranks of a job."""

from nnmpi.mlp_classifier import MLPClassifier
from nnmpi.mlp_regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
