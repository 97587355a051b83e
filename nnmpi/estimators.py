"""The two estimators for scikit-learn: multilayer perceptrons that are trained on all ranks of a job."""

from nnmpi.mlp_classifier import MLPClassifier
from nnmpi.mlp_regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
