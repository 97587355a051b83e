"""The training loop, literal: batch, forward, loss, backward, reduce, update, log."""

import json
import math
import time
from contextlib import ExitStack
from signal import Signals
from typing import Any

import numpy as np

from nnmpi.commands.signals import Stopped, StopRequest
from nnmpi.config import Config, parse_interval
from nnmpi.data.batches import Batches
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.shards import default_shards
from nnmpi.environment import set_threads
from nnmpi.faults.recovery import recovering
from nnmpi.faults.replicas import check_replicas
from nnmpi.faults.watchdog import Watchdog
from nnmpi.files.checkpoint import Checkpoint, Progress
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import glorot_uniform
from nnmpi.nn.kernel import choose_kernel
from nnmpi.nn.network import Bound, Network
from nnmpi.nn.schedules import Schedule
from nnmpi.reduction.choose import Exchange
from nnmpi.reduction.protocol import Array
from nnmpi.report.recording import Recording
from nnmpi.text import printable
from nnmpi.training.divergence import diverged
from nnmpi.training.evaluation import CHUNK, evaluate
from nnmpi.training.output import Output
from nnmpi.training.resume import Standing, check_data, find_checkpoint, restore, scaler_arrays
from nnmpi.training.run_description import code, describe, warn_of_bits
from nnmpi.training.task import prepare


def train(config: Config, world: World) -> None:
    """Train as `config` says, on all ranks of `world`; rank 0 writes the results and prints the final scores.

    Raises
    ------
    InputError
        On all ranks, before anything is written, if the settings do not go with the data or the world.
    RunError
        On all ranks, if the loss becomes NaN or infinite (the model of the last good epoch is kept), if a checkpoint
        cannot be written, or if the replicas are no longer equal.
    Stopped
        On all ranks, after a signal and the checkpoint that follows it.
    """
    standing, stop, recording = Standing(), StopRequest(), Recording(config.timeline, world)
    with Watchdog(world, config.stall_timeout, world.recovers) as watchdog:

        def attempt() -> None:
            world.check_launcher()
            world.members.meet()
            world.check_same({"code": code(), "settings": json.dumps(config.as_json()).encode()})
            watchdog.start()
            recording.begin()
            _train(config, world, standing, stop, recording)
            world.settle()

        def agree() -> None:
            if world.rank == 0:
                watchdog.dismiss(world.lost)
            standing.agree(world)

        recovering(world, attempt, agree)


def _train(config: Config, world: World, standing: Standing, stop: StopRequest, recording: Recording) -> None:
    """Train from where the run stands to its end, with the ranks there are."""
    threads = config.threads or (1 if config.deterministic else world.threads())
    set_threads(threads)
    survived = standing.checkpoint is not None
    resumed = standing.checkpoint or (find_checkpoint(config, world) if config.resume else None)
    shards = resumed.about["shards"] if resumed else config.shards or default_shards(world.started)
    task = prepare(config, world, shards)
    layout, held, architecture = task.layout, task.held, task.architecture
    blocks = 1 if config.deterministic else -(-layout.shards // world.size)  # shards in one product, on any rank
    choose_kernel(architecture.largest_layer, layout.largest_microbatch * blocks)
    about = describe(config, task, world)
    progress = Progress()
    if resumed:
        check_data(resumed, task)
        progress = resumed.progress
        if world.rank == 0 and config.deterministic and resumed.about["bits"] != about["bits"]:
            warn_of_bits(resumed.about["bits"], about["bits"])
    world.here.epoch_and_step = lambda: (progress.epoch, progress.step)

    parameters = glorot_uniform(architecture, stream(config.seed, Purpose.PARAMETERS))
    exchange = Exchange(config, world, layout.shards, held, architecture, parameters, threads == 1)
    parameters, reduce, sums, optimizer = exchange.parameters, exchange.reduce, exchange.sums, exchange.optimizer
    about["reduction"] = reduce.name
    best = parameters.copy() if task.validation else parameters[:0]
    state = {"parameters": parameters, "optimizer": optimizer.state, "best": best}
    if resumed:
        restore(resumed, state)
        exchange.scatter()
    state |= scaler_arrays(task)
    head = {name: about[name] for name in ("settings", "samples", "shards", "bits", "data_digest")}
    largest = layout.largest_microbatch * (1 if reduce.by_shard else len(held))
    network = Network(
        architecture,
        parameters,
        max_block=largest,
        max_blocks=len(reduce.blocks),
        dropout=config.dropout,
        fuse=True,
        onto_zeros=not config.deterministic,
        sample_major=threads == 1,
        allocate=exchange.allocate,
    )
    evaluator = Network(architecture, parameters, CHUNK)

    def bind(inputs: list[Array], targets: list[Array], whole: Array) -> Bound:
        return network.bind(inputs, targets, sums.destinations, reduce.ready, whole, exchange.offer, training=True)

    parts = task.training, layout, held, task.targets
    batches = Batches(*parts, config.seed, task.augmentation, task.scaler, reduce.by_shard, bind, exchange.allocate)
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
    draw = stream(config.seed, Purpose.DROPOUT)
    every, unit = parse_interval(config.checkpoint_every)
    replicas = exchange.replicas(architecture)

    with ExitStack() as stack:
        stack.enter_context(recording)
        with world.together():
            output = Output(config, task, world, about, resumed, standing.epochs) if world.rank == 0 else None
        if output:
            stack.callback(output.close)
            if not survived:
                print(printable(task.target_reason), flush=True)
            if not resumed:
                output.model(parameters)
        writer = output.checkpoints if output else None
        stack.enter_context(stop)
        stack.enter_context(np.errstate(over="ignore", invalid="ignore", divide="ignore"))  # the loss is checked

        recording.attach(progress, batches, network, optimizer, reduce, output)

        def save(finished: bool = False) -> None:  # all ranks take part
            world.here.enter("checkpoint")
            if config.verify_replicas:
                check_replicas(world, replicas)
            with exchange.gathered():
                if writer:
                    writer.save(Checkpoint(progress, state, {**head, "finished": finished}))

        standing.checkpoint = Checkpoint(progress, state, {**head})  # from here on survivors go on from what they hold
        if survived:
            save()
        saved = time.monotonic()
        while progress.epoch < config.epochs and not _stops_early(config, progress):
            epoch = progress.epoch
            standing.started = time.perf_counter() - progress.seconds
            world.here.enter("training")
            batches.start(epoch)
            for step in range(progress.step, layout.steps):
                asked = bool(stop.number or (writer and writer.error))
                due = unit == "minutes" and world.rank == 0 and time.monotonic() - saved >= 60 * every
                batch = batches.batch(step)
                if config.dropout:
                    network.resize(batch.sizes)
                    for shard, b, columns in batches.columns(step):
                        draw = stream(config.seed, Purpose.DROPOUT, epoch, step, shard, reuse=draw)
                        network.draw_dropout(b, columns, draw)
                network.forward(batch)
                losses = network.loss(batch)
                sums.fill(losses, batch.sizes, asked, due)
                network.backward(batch)
                reduce.reduce()
                loss, count, stop_asked, checkpoint_due = sums.read()
                if not math.isfinite(loss):
                    raise diverged(config, task, world, epoch, step)
                if config.l2:
                    network.add_l2(sums.layers, config.l2 * count)
                optimizer.update(sums.gradient, count, schedule(progress.update), progress.update)
                progress.update += 1
                progress.step = step + 1
                progress.loss_sum += loss
                progress.samples += round(count)
                if output:
                    output.log.step(progress.update)
                if stop_asked or checkpoint_due or (unit == "steps" and progress.update % every == 0):
                    progress.seconds = time.perf_counter() - standing.started
                    save()
                    saved = time.monotonic()
                    if stop_asked:
                        raise _stopped(stop, progress, output, world)
                    world.here.enter("training")
            progress.seconds = time.perf_counter() - standing.started

            world.here.enter("evaluation")
            scores = evaluate(evaluator, task.test, task.targets, world, task.target_scaler)
            all_scores = [scores]
            if task.validation:
                watched = evaluate(evaluator, task.validation, task.targets, world, task.target_scaler)
                all_scores.append(watched)
            finite = all(math.isfinite(s.loss) and s.bad_row is None for s in all_scores)
            if not (finite and math.isfinite(float(np.dot(parameters, parameters)))):
                raise diverged(config, task, world, epoch, layout.steps - 1)
            if config.verify_replicas:
                check_replicas(world, replicas)
            metrics: dict[str, Any] = {
                "epoch": epoch + 1,
                "step": progress.update,
                "samples": progress.samples,
                "seconds": progress.seconds,
                "samples_per_second": progress.samples / progress.seconds,
                "learning_rate": schedule(progress.update - 1),
                "train_loss": progress.loss_sum / progress.samples,
                **scores.named("test"),
                "world_size": world.size,
            }
            if task.validation:
                metrics |= watched.named("validation")
                if progress.best_loss is None or watched.loss < progress.best_loss:
                    progress.best_loss, progress.best_epoch = watched.loss, epoch + 1
                    best[:] = parameters
            standing.epochs.append(metrics)
            progress.finish_epoch()
            if output:
                output.epoch(metrics)
                if not task.validation or progress.best_epoch == progress.epoch:
                    output.model(parameters)
            if unit == "epochs" and progress.epoch % every == 0:
                save()

        save(finished=True)
        world.here.enter("end")
        if task.validation and 0 < progress.best_epoch < progress.epoch:
            parameters[:] = best
        scores = evaluate(evaluator, task.test, task.targets, world, task.target_scaler)
        if scores.bad_row is not None:  # without an epoch nothing has been evaluated yet
            raise diverged(config, task, world, 0, 0)
        with world.together():
            if output:
                output.finish(parameters)
    if world.rank == 0 and not standing.told:
        if task.validation and progress.best_epoch:
            best_loss = f"best validation loss {progress.best_loss:.4f}"
            print(f"{best_loss} after epoch {progress.best_epoch} of {progress.epoch}")
        print(scores.line("test"), flush=True)
        standing.told = True


def _stops_early(config: Config, progress: Progress) -> bool:
    return bool(config.early_stopping) and progress.epoch - progress.best_epoch >= config.early_stopping


def _stopped(stop: StopRequest, progress: Progress, output: Output | None, world: World) -> Stopped:
    """The error that ends a run on request, after its checkpoint is on the disk; all ranks take part."""
    with world.together():
        if output:
            output.flush()
    number = world.largest(stop.number)  # the signal may not have reached every rank
    return Stopped(
        number,
        f"stopped by {Signals(number).name} in epoch {progress.epoch + 1} after step {progress.step}; "
        + ("add --resume to go on" if output and output.checkpoints else "without a checkpoint (--checkpoint-every)"),
    )
