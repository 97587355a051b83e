"""`MLPRegressor`: scikit-learn's regressor of this name, trained on all ranks of a job."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from nnmpi.mlp_parameters import CONSTRAINTS, trains_in_steps
from nnmpi.mpi.world import World
from nnmpi.multilayer import MultilayerPerceptron

Array = npt.NDArray[Any]


class MLPRegressor(RegressorMixin, MultilayerPerceptron):  # type: ignore[misc]
    """A multilayer perceptron for numbers, as scikit-learn's ``MLPRegressor``, on any number of ranks.

    See `MLPClassifier` for what it has in common with scikit-learn and what ranks do.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        What is minimized: half the squared error, or half the Poisson deviance of exponential outputs.
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
        Features of a sample, and their names where they came with names.

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
            Whether each rank brings rows of its own. They are trained on as one set.

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, shard=shard)
        return self

    @available_if(trains_in_steps)  # type: ignore[untyped-decorator]
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

    def _encode(self, y: Array, incremental: bool, shard: bool, world: World) -> Array:
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        return y if y.ndim > 1 else y[:, None]

    def _outputs_for(self, outputs: int) -> tuple[int, str, str]:
        if self.loss == "poisson":
            return outputs, "exp", "poisson"
        return outputs, "identity", "half-squared-error"
