"""scikit-learn's estimators ``MLPClassifier`` and ``MLPRegressor``, trained on all ranks of a job."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from nnmpi.multilayer import MultilayerPerceptron

Array = npt.NDArray[Any]


def _trains_in_steps(estimator: Any) -> bool:
    if estimator.solver not in ("sgd", "adam"):
        raise AttributeError(f"partial_fit is only available with the solvers sgd and adam, not {estimator.solver}")
    return True


class MLPClassifier(ClassifierMixin, MultilayerPerceptron):  # type: ignore[misc]
    """DOC"""

    _parameter_constraints = {
        **MultilayerPerceptron._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        dropout: float = 0.0,
        deterministic: bool = False,
        dtype: str | None = None,
        comm: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self._store(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPClassifier":
        """Fit the network to samples and their labels; under a launcher all ranks call this with the same data.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        y : array-like, shape (n,), or (n, classes) of 0 and 1 where a sample may have several labels
        sample_weight : array-like, shape (n,), optional

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight)
        return self

    @available_if(_trains_in_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """Go on with one epoch over these samples.

        Parameters
        ----------
        X, y, sample_weight
            As `fit`.
        classes : array-like, shape (classes,)
            All labels of all calls; needed in the first one.
        """
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' is not supported for partial_fit; give a dict of weights")
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """The predicted labels, shape (n,), or (n, classes) of 0 and 1; computed on this rank alone."""
        outputs = self._outputs(X)
        labels: Array = self._label_binarizer.inverse_transform(outputs.ravel() if self.n_outputs_ == 1 else outputs)
        return labels

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, shape (n, classes), in the order of ``classes_``."""
        outputs = self._outputs(X)
        return np.hstack([1 - outputs, outputs]) if self.n_outputs_ == 1 else outputs

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Array]:
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=(np.float64, np.float32), reset=reset
        )
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _encode(self, y: Array, first: bool, incremental: bool) -> Array:
        """Class codes, shape (n,), of several classes; else 0 and 1, shape (n, outputs)."""
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start and set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {classes}"
                )
            if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
                )
        if y.ndim > 1:
            return np.asarray(self._label_binarizer.transform(y))
        codes = np.searchsorted(self.classes_, y)
        return codes if len(self.classes_) > 2 else codes[:, None]

    def _weights_of(self, y: Array, sample_weight: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        of_classes = self.class_weight
        if isinstance(of_classes, dict):
            if y.shape[1:] not in ((), (1,)):
                raise ValueError("class_weight is for one label a sample; weigh samples of several with sample_weight")
            unknown = set(of_classes) - set(self.classes_.tolist())
            if unknown:
                raise ValueError(f"class_weight has the labels {sorted(unknown)}, the classes are {self.classes_}")
            of_classes = {code: of_classes.get(label, 1.0) for code, label in enumerate(self.classes_.tolist())}
        weights = compute_sample_weight(of_classes, y[:, 0] if y.shape[1:] == (1,) else y)
        return weights if sample_weight is None else weights * sample_weight

    def _outputs_of(self, y: Array) -> tuple[int, str, str]:
        if self._label_binarizer.y_type_ == "multiclass":
            return len(self.classes_), "softmax", "cross-entropy"
        return y.shape[1], "logistic", "binary-cross-entropy"

    def _stratifies(self) -> bool:
        return bool(self.n_outputs_ == 1)


class MLPRegressor(RegressorMixin, MultilayerPerceptron):  # type: ignore[misc]
    """DOC"""

    _parameter_constraints = {
        **MultilayerPerceptron._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        deterministic: bool = False,
        dtype: str | None = None,
        comm: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self._store(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Fit the network to samples and their numbers; under a launcher all ranks call this with the same data.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        y : array-like, shape (n,) or (n, outputs)
        sample_weight : array-like, shape (n,), optional

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight)
        return self

    @available_if(_trains_in_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Go on with one epoch over these samples; the parameters are those of `fit`."""
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """The predicted numbers, shape (n,) or (n, outputs); computed on this rank alone."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Array]:
        return validate_data(  # type: ignore[no-any-return]
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )

    def _encode(self, y: Array, first: bool, incremental: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return y if y.ndim > 1 else y[:, None]

    def _outputs_of(self, y: Array) -> tuple[int, str, str]:
        if self.loss == "poisson":
            return y.shape[1], "exp", "poisson"
        return y.shape[1], "identity", "half-squared-error"
