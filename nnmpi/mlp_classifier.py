"""`MLPClassifier`: scikit-learn's classifier of this name, trained on all ranks of a job."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from nnmpi.mlp_parameters import CONSTRAINTS, trains_in_steps
from nnmpi.mpi.world import World
from nnmpi.multilayer import MultilayerPerceptron
from nnmpi.training.fit_together import all_labels, check_known, on_all_ranks, weights_of_classes

Array = npt.NDArray[Any]


class MLPClassifier(ClassifierMixin, MultilayerPerceptron):  # type: ignore[misc]
    """A multilayer perceptron for classes, as scikit-learn's ``MLPClassifier``, on any number of ranks.

    From the same ``random_state`` it starts from scikit-learn's weights, takes its batches, and ends with its weights
    up to rounding. Under a launcher all ranks call `fit` and `partial_fit` together, with the same samples; everything
    else is local to a rank.

    Parameters
    ----------
    hidden_layer_sizes : array-like, default=(100,)
        Units of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Of the hidden layers.
    solver : {"adam", "sgd"}, default="adam"
        How a gradient changes the weights. ``lbfgs`` is not available.
    alpha : float, default=0.0001
        Strength of the L2 penalty, ``½ alpha ‖W‖²`` divided by the size of a batch.
    batch_size : int or "auto", default="auto"
        Samples of a step over all ranks; "auto" is ``min(200, n)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of sgd.
    learning_rate_init : float, default=0.001
        Initial learning rate.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Epochs at most.
    shuffle : bool, default=True
        Whether each epoch draws a new order.
    random_state : int, RandomState or None, default=None
        What initial weights, orders and splits are drawn from. With an int they are those of scikit-learn.
    tol : float, default=1e-4
        What an epoch must improve the loss, or the validation score, by to count.
    verbose : bool, default=False
        Print a line for each epoch, on rank 0.
    warm_start : bool, default=False
        Go on from the weights of the last fit.
    momentum : float, default=0.9
        Of sgd.
    nesterovs_momentum : bool, default=True
        Look ahead with the momentum.
    early_stopping : bool, default=False
        Watch the score of a part that is not trained on, and keep the best weights.
    validation_fraction : float, default=0.1
        Share of that part.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Of adam.
    n_iter_no_change : int, default=10
        Stop after so many epochs without improvement.
    max_fun : int, default=15000
        Of lbfgs; accepted and ignored.
    class_weight : dict, "balanced" or None, default=None
        Weight of each label in the loss; "balanced" lets classes of all sizes count the same.
    dropout : float, default=0.0
        Share of the hidden outputs that training drops.
    deterministic : bool, default=False
        The same bits on any number of ranks up to eight.
    dtype : {"float32", "float64"} or None, default=None
        Precision of all arithmetic; None is that of the samples.
    comm : mpi4py.MPI.Comm or None, default=None
        The ranks that fit; None is all ranks of the job.
    n_jobs : int or None, default=None
        In a process that no launcher started: how many ranks below it fit, -1 is one a core. They stay for the next
        fit and end with the process. None is 1.

    Attributes
    ----------
    classes_ : array
    coefs_, intercepts_ : list of array
        Weights, shape (fan_in, fan_out), and biases, shape (fan_out,), of each layer.
    loss_curve_ : list of float
        The loss of each epoch; ``loss_`` is the last one and ``best_loss_`` the least.
    validation_scores_ : list of float or None
        With early stopping, the score of each epoch; ``best_validation_score_`` is the largest.
    n_iter_, t_ : int
        Epochs of the last fit, and samples seen in all.
    n_layers_, n_outputs_, out_activation_
        Layers with that of the features, outputs, and their activation.
    n_features_in_, feature_names_in_

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from nnmpi import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> MLPClassifier((32,), random_state=0, n_jobs=2).fit(X / 16, y).score(X / 16, y) > 0.9
    True
    """

    classes_: Array

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
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
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, shard: bool = False) -> "MLPClassifier":
        """Fit the network to samples and their labels; under a launcher all ranks call this with the same data.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        y : array-like, shape (n,), or (n, classes) of 0 and 1 where a sample may have several labels
        sample_weight : array-like, shape (n,), optional
        shard : bool
            Whether each rank brings rows of its own. They are trained on as one set.

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, shard=shard)
        return self

    @available_if(trains_in_steps)  # type: ignore[untyped-decorator]
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

    def _encode(self, y: Array, incremental: bool, shard: bool, world: World) -> Array:
        fresh = not hasattr(self, "classes_") or not (self.warm_start or incremental)
        binarizer = LabelBinarizer() if fresh else self._label_binarizer
        with on_all_ranks(world):
            if fresh:
                binarizer.fit(y)
            else:
                check_known(unique_labels(y), self.classes_, self.warm_start)
        if fresh and shard and binarizer.y_type_ in ("binary", "multiclass"):
            binarizer.fit(all_labels(y, world))
        self._label_binarizer, self.classes_ = binarizer, binarizer.classes_
        with on_all_ranks(world):
            if y.ndim > 1:
                return np.asarray(binarizer.transform(y))
            codes = np.searchsorted(self.classes_, y)
            return codes if len(self.classes_) > 2 else codes[:, None]

    def _weights_of(self, y: Array, sample_weight: Any, shard: bool, world: World) -> Any:
        if self.class_weight is None:
            return sample_weight
        if self._label_binarizer.y_type_.startswith("multilabel"):
            raise ValueError("class_weight is for one label a sample; weigh samples of several with sample_weight")
        codes = y.reshape(-1).astype(np.intp)
        of_classes = weights_of_classes(self.class_weight, self.classes_.tolist(), codes, world if shard else None)
        return of_classes[codes] if sample_weight is None else of_classes[codes] * sample_weight

    def _outputs_for(self, outputs: int) -> tuple[int, str, str]:
        if self._label_binarizer.y_type_ == "multiclass":
            return len(self.classes_), "softmax", "cross-entropy"
        return outputs, "logistic", "binary-cross-entropy"

    def _stratifies(self) -> bool:
        return bool(self.n_outputs_ == 1)
