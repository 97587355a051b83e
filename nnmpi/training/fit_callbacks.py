"""scikit-learn's callbacks in the fit of an estimator: a task for the fit, and below it one for each epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nnmpi.mpi.world import World
from nnmpi.training.fit_state import FitState, attributes_of, failed
from nnmpi.training.fit_together import on_all_ranks

try:
    from sklearn.callback import CallbackSupportMixin, ProgressBar, with_callbacks
except ImportError:  # scikit-learn before 1.9: no estimator has callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for scikit-learn's class."""

    def with_callbacks(method: Any) -> Any:
        """Return the method."""
        return method


__all__ = ["CallbackSupportMixin", "callbacks_called"]


@contextmanager
def callbacks_called(
    estimator: Any, state: FitState, world: World, X: Any, y: Any, sample_weight: Any, incremental: bool
) -> Iterator[list[Callable[[FitState], None]]]:
    """Call the callbacks of `estimator` around the fit in the body. All ranks take part.

    Yield the functions that the fit calls after each epoch: none if no rank has callbacks, or if the fit is
    `incremental`, by ``partial_fit``. `state` is that at the start of the fit; `X`, `y` and `sample_weight` go to the
    callbacks.
    """
    if incremental or not hasattr(estimator, "_init_callback_context"):
        yield []
        return
    try:
        if not world.sum_exactly(hasattr(estimator, "_skl_callbacks")):
            estimator._init_callback_context(max_subtasks=estimator.max_iter)  # for callbacks of a Pipeline around it
            yield []
            return
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        callbacks = FitCallbacks(estimator, world, {"estimator": estimator, "X": X, "y": y, "metadata": metadata})
        callbacks.begin(state)
        yield [callbacks.end_epoch]
        callbacks.end()
    finally:
        _tear_down(estimator)  # after an error; the other ranks may have none


class FitCallbacks:
    """The callbacks of an estimator in one fit. All ranks call the methods together.

    Each rank calls the callbacks that are set on its estimator; only rank 0 shows a ``ProgressBar``. If a callback of
    one rank raises an error or asks to stop, the fit ends on all ranks.
    """

    def __init__(self, estimator: Any, world: World, hook_arguments: dict[str, Any]) -> None:
        self._estimator, self._world, self._hook_arguments = estimator, world, hook_arguments
        self._fit: Any = None
        self._epoch: Any = None

    def begin(self, state: FitState) -> None:
        """Set the callbacks up, and begin the fit and the first epoch."""
        with on_all_ranks(self._world):
            self._fit = self._context()
            self._fit.call_on_fit_task_begin(**self._hook_arguments)
            self._begin_epoch(state)

    def _context(self) -> Any:
        callbacks = getattr(self._estimator, "_skl_callbacks", [])
        if self._world.rank:
            self._estimator.set_callbacks(*[c for c in callbacks if not isinstance(c, ProgressBar)])
        try:
            return self._estimator._init_callback_context(max_subtasks=self._estimator.max_iter)
        finally:
            self._estimator.set_callbacks(*callbacks)

    def _begin_epoch(self, state: FitState) -> None:
        self._epoch = self._fit.subcontext("epoch")
        self._epoch.call_on_fit_task_begin(**self._hook_arguments, reconstruction_attributes=lambda: _attributes(state))

    def end_epoch(self, state: FitState) -> None:
        """End an epoch, and begin the next one if there is one. Set ``state.end`` if a callback asks to stop."""
        stop = False
        with on_all_ranks(self._world):
            epoch, self._epoch = self._epoch, None
            stop = epoch.call_on_fit_task_end(
                **self._hook_arguments, reconstruction_attributes=lambda: _attributes(state)
            )
        if self._world.sum_exactly(stop):
            state.end = state.end or "ended by a callback"
        if not state.end and state.n_iter < self._estimator.max_iter:
            with on_all_ranks(self._world):
                self._begin_epoch(state)

    def end(self) -> None:
        """End the fit of the estimator, which is now fitted."""
        with on_all_ranks(self._world):
            if self._epoch:  # Ctrl-C has interrupted it
                self._epoch.call_on_fit_task_end(estimator=self._estimator)
            self._fit.call_on_fit_task_end(**self._hook_arguments, reconstruction_attributes={})
            _tear_down(self._estimator)


def _attributes(state: FitState) -> dict[str, Any] | None:
    """Return the attributes of the fitted estimator, or None if the fit has failed: nothing can be predicted then."""
    return None if failed(state) else attributes_of(state)


@with_callbacks  # type: ignore[untyped-decorator]
def _tear_down(estimator: Any) -> None:
    """Tear down the callbacks that are set up: scikit-learn's decorator does this once."""
