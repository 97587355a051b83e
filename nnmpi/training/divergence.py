"""The error for a loss that is no longer finite. It blames the data or the settings of the training."""

import math

import numpy as np

from nnmpi.config import Config
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.errors import CommandError, InputError, RunError
from nnmpi.files.checkpoint import Progress
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import glorot_uniform
from nnmpi.nn.network import Network
from nnmpi.nn.predict import CHUNK
from nnmpi.training.evaluation import evaluate
from nnmpi.training.task import Task


def diverged(
    config: Config, task: Task, world: World, progress: Progress, step: int, writes_model: bool
) -> CommandError:
    """Return the error that ends a run whose loss became NaN or infinite in a step. All ranks take part.

    If the loss of the initial network is not finite either, the data are the cause, and no learning rate helps. If the
    run `writes_model`, the error says which one is in its file.
    """
    initial = glorot_uniform(task.architecture, stream(config.seed, Purpose.PARAMETERS))
    network = Network(task.architecture, initial, CHUNK)
    parts = {"training": task.training, "validation": task.validation, "test": task.test}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for name, part in parts.items():
            if part is None or part.stored is not None:  # images that are not standardized yet
                continue
            scores = evaluate(network, part, task.targets, world, task.target_scaler, task.class_weights)
            if scores.bad_row is not None or not math.isfinite(scores.loss):
                own_data = {"test": config.test_data, "validation": config.validation_data}.get(name)
                flag = f"--data {task.source.name}" if own_data is None else f"--{name}-data {own_data}"
                return InputError(
                    f"{flag}: row {scores.bad_row} (from 0), of the {name} part, makes the loss infinite even before "
                    "the first step: one of its numbers is too far from all others. Is it a fill value? Remove such "
                    "rows or fill them in" + ("" if config.dtype == "float64" else ", or use --dtype float64"),
                    shared=True,
                )
    kept = ""
    if writes_model and config.early_stopping:
        kept = f"; the best model so far, of epoch {progress.best_epoch}, is kept"
    elif writes_model:
        kept = f"; the last good model, of epoch {progress.epoch}, is kept"
    return RunError(
        f"the loss is no longer finite in epoch {progress.epoch + 1}, step {step + 1}: lower --learning-rate "
        f"(it is {config.learning_rate:g}), or add --warmup-epochs{kept}",
        shared=True,
    )
