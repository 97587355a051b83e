"""`MLPRegressor`: a regressor like scikit-learn's, trained on all ranks of a job."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from nnmpi.arrays import Array
from nnmpi.mlp_parameters import CONSTRAINTS, has_partial_fit
from nnmpi.mpi.world import World
from nnmpi.multilayer import MultilayerPerceptron


class MLPRegressor(RegressorMixin, MultilayerPerceptron):  # type: ignore[misc]
    """A multilayer perceptron for numbers, like scikit-learn's ``MLPRegressor``, on any number of ranks.

    See `MLPClassifier` for the results compared with scikit-learn's and for the calls on several ranks.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        Loss to minimize: half the squared error, or half the Poisson deviance, with exponential outputs.
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
        Number of features of a sample, and their names if the samples have names.

    Raises
    ------
    ValueError
        From `fit`, on all ranks, if a parameter or the samples cannot be used.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
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
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, shard: bool = False) -> "MLPRegressor":
        """Fit the network to samples and their numbers; under a launcher all ranks call this with the same data.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        y : array-like, shape (n,) or (n, outputs)
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Continue training with one epoch over these samples; the parameters are as in `fit`."""
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the predicted numbers, shape (n,) or (n, outputs); computed on this rank alone."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Array]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if hasattr(y, "tocsr") or y.dtype.kind not in "biuf":
            raise ValueError(
                f"y must be a dense array of numbers, got {type(y).__name__} of {y.dtype}: convert it, for example "
                "with astype(float) or toarray()"
            )
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"loss='poisson' needs y of at least 0, got {y.min()}")
        return X, y

    def _encode(self, y: Array, incremental: bool, shard: bool, world: World) -> Array:
        return y if y.ndim > 1 else y[:, None]

    def _output_layer(self, outputs: int) -> tuple[int, str, str]:
        if self.loss == "poisson":
            return outputs, "exp", "poisson"
        return outputs, "identity", "half-squared-error"
