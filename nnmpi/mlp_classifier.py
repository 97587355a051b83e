"""`MLPClassifier`: a classifier like scikit-learn's, trained on all ranks of a job."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from nnmpi.arrays import Array
from nnmpi.mlp_parameters import CONSTRAINTS, has_partial_fit
from nnmpi.mpi.world import World
from nnmpi.multilayer import MultilayerPerceptron
from nnmpi.training.fit_targets import all_labels, check_known, checked_labels, weights_of_classes
from nnmpi.training.fit_together import on_all_ranks


class MLPClassifier(ClassifierMixin, MultilayerPerceptron):  # type: ignore[misc]
    """A multilayer perceptron for classes, like scikit-learn's ``MLPClassifier``, on any number of ranks.

    With the same ``random_state`` it uses the initial weights and the batches of scikit-learn, and ends with the same
    weights up to rounding. Under a launcher all ranks call `fit` and `partial_fit` together, with the same samples. All
    other methods are local to a rank.

    Parameters
    ----------
    hidden_layer_sizes : array-like, default=(100,)
        Units of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Activation of the hidden layers.
    solver : {"adam", "sgd"}, default="adam"
        Optimizer. ``lbfgs`` is not available.
    alpha : float, default=0.0001
        Strength of the L2 penalty ``½ alpha ‖W‖²``, which is divided by the batch size.
    batch_size : int or "auto", default="auto"
        Samples per step, over all ranks; "auto" is ``min(200, n)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Learning-rate schedule of sgd.
    learning_rate_init : float, default=0.001
        Initial learning rate.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Largest number of epochs.
    shuffle : bool, default=True
        Whether each epoch draws a new order of the samples.
    random_state : int, RandomState or None, default=None
        Source of initial weights, orders and splits. With an int they are the same as in scikit-learn.
    tol : float, default=1e-4
        Smallest improvement of the loss, or of the validation score, that counts.
    verbose : bool, default=False
        Print a line for each epoch, on rank 0.
    warm_start : bool, default=False
        Start from the weights of the last fit.
    momentum : float, default=0.9
        Momentum of sgd.
    nesterovs_momentum : bool, default=True
        Whether sgd uses Nesterov's momentum.
    early_stopping : bool, default=False
        Watch the score of a validation part, which is not trained on, and keep the best weights.
    validation_fraction : float, default=0.1
        Fraction of the samples in the validation part.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Constants of adam.
    n_iter_no_change : int, default=10
        Epochs in a row that may bring no improvement; one more ends the fit.
    max_fun : int, default=15000
        Accepted and ignored: it belongs to lbfgs.
    class_weight : dict, "balanced" or None, default=None
        Weight of each label in the loss; "balanced" gives all classes the same total weight.
    dropout : float, default=0.0
        Fraction of the hidden outputs that training drops.
    deterministic : bool, default=False
        Get the same bits on any number of ranks up to eight.
    dtype : {"float32", "float64"} or None, default=None
        Precision of all arithmetic; None is the precision of the samples.
    comm : mpi4py.MPI.Comm or None, default=None
        Communicator of the ranks that fit; None is all ranks of the job.
    n_jobs : int or None, default=None
        Number of ranks that this process starts to fit on; -1 is one per core, None is 1. They stay for the next fit
        and end with the process. Ignored with `comm`, and in a process that a launcher started.

    Attributes
    ----------
    classes_ : array
    coefs_, intercepts_ : list of array
        Weights, shape (fan_in, fan_out), and biases, shape (fan_out,), of each layer.
    loss_curve_ : list of float
        The loss of each epoch; ``loss_`` is the last one and ``best_loss_`` the smallest.
    validation_scores_ : list of float or None
        With early stopping, the score of each epoch; ``best_validation_score_`` is the largest.
    n_iter_, t_ : int
        Epochs of the last fit, and samples trained on so far, each counted once per epoch.
    n_layers_, n_outputs_, out_activation_
        Number of layers including the input, number of outputs, and activation of the outputs.
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
        y : array-like, shape (n,), or (n, classes) of 0 and 1 if a sample may have several labels
        sample_weight : array-like, shape (n,), optional
        shard : bool
            Whether each rank passes its own rows. The training set is the rows of all ranks.

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, shard=shard)
        return self

    @available_if(has_partial_fit)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """Continue training with one epoch over these samples.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like, shape (classes,)
            All labels of all calls; required in the first call.
        """
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' is not supported for partial_fit; give a dict of weights")
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the predicted labels, shape (n,), or (n, classes) of 0 and 1; computed on this rank alone."""
        outputs = self._outputs(X)
        labels: Array = self._label_binarizer.inverse_transform(outputs.ravel() if self.n_outputs_ == 1 else outputs)
        return labels

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (n, classes), in the order of ``classes_``."""
        outputs = self._outputs(X)
        return np.hstack([1 - outputs, outputs]) if self.n_outputs_ == 1 else outputs

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`."""
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
        return X, checked_labels(y)

    def _encode(self, y: Array, incremental: bool, shard: bool, world: World) -> Array:
        fresh = not hasattr(self, "classes_") or not (self.warm_start or incremental)
        binarizer = LabelBinarizer() if fresh else self._label_binarizer
        with on_all_ranks(world):
            labels = unique_labels(y)
        labels = all_labels(labels, world) if shard else labels
        with on_all_ranks(world):
            if fresh:
                binarizer.fit(labels if y.ndim == 1 else y)
            else:
                check_known(labels, self.classes_, self.warm_start)
            self._label_binarizer, self.classes_ = binarizer, binarizer.classes_
            if y.ndim > 1:
                return np.asarray(binarizer.transform(y)).astype(bool)
            codes = np.searchsorted(self.classes_, y.astype(self.classes_.dtype, copy=False))
            return codes if len(self.classes_) > 2 else codes[:, None]

    def _sample_weights(self, y: Array, sample_weight: Any, shard: bool, world: World) -> Any:
        if self.class_weight is None:
            return sample_weight
        if self._label_binarizer.y_type_.startswith("multilabel"):
            raise ValueError("class_weight needs one label per sample; with several labels use sample_weight")
        codes = y.reshape(-1).astype(np.intp)
        weights = weights_of_classes(self.class_weight, self.classes_.tolist(), codes, world if shard else None)[codes]
        return weights if sample_weight is None else weights * sample_weight

    def _output_layer(self, outputs: int) -> tuple[int, str, str]:
        if self._label_binarizer.y_type_ == "multiclass":
            return len(self.classes_), "softmax", "cross-entropy"
        return outputs, "logistic", "binary-cross-entropy"

    def _is_stratified(self) -> bool:
        return bool(self.n_outputs_ == 1)
