"""The training loop, literal: batch, forward, loss, backward, reduce, update, log."""

import hashlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from nnmpi.config import Config
from nnmpi.data.batches import Batches
from nnmpi.data.streams import Purpose, stream
from nnmpi.errors import InputError, RunError
from nnmpi.evaluate import CHUNK, Scores, evaluate
from nnmpi.mpi.reduce import native
from nnmpi.mpi.world import World
from nnmpi.nn.layers import Array
from nnmpi.nn.model import Network, glorot_uniform
from nnmpi.nn.optim import OPTIMIZERS
from nnmpi.nn.schedules import Schedule
from nnmpi.run.environment import blas, set_threads, versions
from nnmpi.run.log import RunLog
from nnmpi.run.modelfile import Model, Recipe, write_model
from nnmpi.task import Task, prepare, suggested_shards


def train(config: Config, world: World) -> None:
    """Train as `config` says, on all ranks of `world`; rank 0 writes the results and prints the final scores.

    Raises
    ------
    InputError
        On all ranks, before anything is written, if the settings do not go with the data or the world.
    RunError
        On all ranks, if the loss becomes NaN or infinite; the model of the last good epoch is kept.
    """
    world.check_launcher()
    world.check_same({"code": _code(), "settings": json.dumps(config.as_json()).encode()})
    set_threads(config.threads or world.threads())
    task = prepare(config, world)
    layout = task.layout
    directory = Path(config.output) if config.output else Path("runs") / Path(config.data.replace(":", "-")).stem
    hosts = world.hosts()
    with world.together():
        log = _open_log(directory, config, task, world, hosts) if world.rank == 0 else None

    parameters = glorot_uniform(task.architecture, stream(config.seed, Purpose.PARAMETERS))
    batches = Batches(task.training, layout, task.held, task.targets, config.seed, task.augmentation, task.scaler)
    network = Network(task.architecture, parameters, max(batches.largest, 1), config.dropout)
    evaluator = Network(task.architecture, parameters, CHUNK)
    optimizer = OPTIMIZERS[config.optimizer](parameters, config.momentum, config.nesterov)
    schedule = Schedule(
        config.lr_schedule,
        config.learning_rate,
        layout.steps,
        config.epochs,
        decay=config.lr_decay,
        step_epochs=config.lr_step_epochs,
        step_factor=config.lr_step_factor,
        warmup_epochs=config.warmup_epochs,
    )
    # what is reduced travels in one vector: sum gradient | loss sum | sample count
    vector: Array = np.zeros(parameters.size + 2, parameters.dtype)
    gradient = vector[:-2]
    layer_gradients = task.architecture.views(gradient)
    reduce = native(world, vector)

    def keep(final: bool = False) -> None:
        if world.rank == 0:
            write_model(directory / "model.safetensors", _model(config, task, parameters), final)

    keep()
    scores = evaluate(evaluator, task.test, task.targets, world)
    best_loss, best_epoch, best_parameters = math.inf, 0, parameters.copy() if task.validation else None
    update = epoch = 0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a loss that is not finite is found below
        while epoch < config.epochs and (not config.early_stopping or epoch - best_epoch < config.early_stopping):
            started = time.perf_counter()
            batches.start(epoch)
            loss_sum = samples = learning_rate = 0.0
            for step in range(layout.steps):
                x, t = batches.batch(step)
                if config.dropout:
                    for shard, columns in batches.microbatches(step):
                        draw = stream(config.seed, Purpose.DROPOUT, epoch, step, shard)
                        network.draw_dropout(x.shape[1], columns, draw)
                network.forward(x, training=True)
                vector[-2] = network.loss(t)
                vector[-1] = x.shape[1]
                network.backward(x, layer_gradients)
                reduce()
                loss, count = vector[-2:].tolist()
                if not math.isfinite(loss):
                    raise _diverged(config, epoch, step)
                if config.l2:
                    network.add_l2(layer_gradients, config.l2 * count)
                learning_rate = schedule(update)
                optimizer.update(gradient, count, learning_rate, update)
                update += 1
                loss_sum += loss
                samples += count
                if log:
                    log.step(update)
            seconds = time.perf_counter() - started

            scores = evaluate(evaluator, task.test, task.targets, world)
            if not (math.isfinite(scores.loss) and math.isfinite(float(np.dot(parameters, parameters)))):
                raise _diverged(config, epoch, layout.steps - 1)
            epoch += 1
            metrics: dict[str, Any] = {
                "epoch": epoch,
                "step": update,
                "samples": round(samples),
                "seconds": seconds,
                "samples_per_second": samples / seconds,
                "learning_rate": learning_rate,
                "train_loss": loss_sum / samples,
                **_named("test", scores),
                "world_size": world.size,
            }
            if task.validation and best_parameters is not None:
                watched = evaluate(evaluator, task.validation, task.targets, world)
                metrics |= _named("validation", watched)
                if watched.loss < best_loss:
                    best_loss, best_epoch = watched.loss, epoch
                    best_parameters[:] = parameters
            if best_epoch == epoch or best_parameters is None:
                keep()
            if log:
                log.epoch(metrics)

    if best_parameters is not None and best_epoch < epoch:
        parameters[:] = best_parameters
        scores = evaluate(evaluator, task.test, task.targets, world)
    keep(final=True)
    if log:
        log.close()
        if best_parameters is not None:
            print(f"best validation loss {best_loss:.4f} after epoch {best_epoch} of {epoch}")
        print(scores.line("test"), flush=True)


def _open_log(directory: Path, config: Config, task: Task, world: World, hosts: list[str]) -> RunLog:
    layout = task.layout
    better = suggested_shards(layout.shards, world.size)
    if better:
        print(
            f"nnmpi: note: {layout.shards} shards on {world.size} ranks leave some ranks waiting for others; "
            f"--shards {better} would fit",
            file=sys.stderr,
        )
    settings = {
        "settings": config.as_json(),
        "architecture": {**vars(task.architecture), "parameters": task.architecture.parameters},
        "samples": task.samples,
        "shards": layout.shards,
        "batch_size": layout.batch_size,
        "steps_per_epoch": layout.steps,
        "world_size": world.size,
        "hosts": hosts,
        "mpi": world.library(),
        "blas": blas(),
        "versions": versions(),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return RunLog(directory, settings, layout.steps, config.epochs, world.shows_terminal())
    except OSError as error:
        raise InputError(f"--output {directory}: cannot be written ({error.strerror}); choose another") from None


def _model(config: Config, task: Task, parameters: Array) -> Model:
    recipe = Recipe(config.data, config.test_fraction, config.seed, config.stratify)
    return Model(task.architecture, parameters, task.scaler, task.target_scaler, task.targets, recipe)


def _named(part: str, scores: Scores) -> dict[str, float]:
    name, value = scores.metric
    return {f"{part}_loss": scores.loss, f"{part}_{name}": value}


def _diverged(config: Config, epoch: int, step: int) -> RunError:
    error = RunError(
        f"the loss is no longer finite in epoch {epoch + 1}, step {step + 1}: lower --learning-rate "
        f"(it is {config.learning_rate:g}), or add --warmup-epochs; the last good model, that of epoch {epoch}, is kept"
    )
    error.shared = True
    return error


def _code() -> bytes:
    """All source files of the package, so that ranks with different ones can be told."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"{sys.version} {np.__version__} {digest.hexdigest()}".encode()
