"""The training loop. It yields events; the caller reads them to write files, show progress or stop."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from nnmpi.faults.replicas import check_replicas
from nnmpi.training.events import CheckpointDue, EpochDone, Event, Finished
from nnmpi.training.session import Session

if TYPE_CHECKING:
    from nnmpi.training.fit import FitSession


def train(session: Session) -> Iterator[Event]:
    """Train `session` from its present ``progress`` to the end. All ranks must read all events, in the same order.

    Raises
    ------
    RunError
        On all ranks, if a loss is not finite or the replicas are no longer equal.
    """
    config, progress, position = session.config, session.progress, session.world.position

    while progress.epoch < config.epochs and not session.stops_early():
        position.enter("training")
        session.start_epoch()
        for due in steps(session):
            yield from _checkpoint(session, due)
            position.enter("training")
        yield _end_epoch(session)
        if session.checkpoint_is_due(epoch=True):
            yield from _checkpoint(session, CheckpointDue())

    yield from _checkpoint(session, CheckpointDue(finished=True))
    position.enter("end")
    session.restore_best()
    task = session.task
    parts = {"test": task.test} | ({"validation": task.validation} if task.validation else {})
    scores = {name: session.evaluate(part) for name, part in parts.items()}
    if any(s.bad_row is not None for s in scores.values()):  # with --epochs 0 this is the first evaluation
        raise session.diverged(0)
    yield Finished(scores["test"], {name: session.all_scores(part, scores[name]) for name, part in parts.items()})


def steps(session: "Session | FitSession") -> Iterator[CheckpointDue]:
    """Run the remaining steps of the current epoch; yield when a checkpoint is due."""
    config, layout, progress, requests = session.config, session.layout, session.progress, session.requests
    batches, network, step_vector, reduction = session.batches, session.network, session.sums, session.reduction
    optimizer, learning_rate = session.optimizer, session.learning_rate

    for step in range(progress.step, layout.steps):
        batch = batches.batch(step)
        if config.dropout:
            session.draw_dropout(step, batch)
        network.forward(batch)
        losses = network.loss(batch)
        step_vector.fill(losses, batches.weights(step), requests.stop, requests.checkpoint)
        network.backward(batch)
        reduction.reduce()
        loss, weight, stop, checkpoint = step_vector.read()
        if not math.isfinite(loss):
            raise session.diverged(step)
        if config.l2:
            session.add_l2(weight)
        k = progress.update
        optimizer.update(step_vector.gradient, divide_by=weight or 1.0, learning_rate=learning_rate(k), k=k)
        progress.advance(loss, weight, layout.samples_of(step))
        if stop or checkpoint or session.checkpoint_is_due():
            yield CheckpointDue(stopping=bool(stop))


def _checkpoint(session: Session, due: CheckpointDue) -> Iterator[CheckpointDue]:
    session.note_seconds()
    session.world.position.enter("checkpoint")
    if session.config.verify_replicas:
        check_replicas(session.world, session.replicas)
    yield due


def _end_epoch(session: Session) -> EpochDone:
    """Evaluate the network, and move ``progress`` to the next epoch."""
    config, task, progress, world = session.config, session.task, session.progress, session.world
    session.note_seconds()
    world.position.enter("evaluation")
    scores = session.evaluate(task.test)
    all_scores = [scores]
    if task.validation:
        validation_scores = session.evaluate(task.validation)
        all_scores.append(validation_scores)
    finite = all(math.isfinite(s.loss) and s.bad_row is None for s in all_scores)
    if not (finite and math.isfinite(float(np.dot(session.parameters, session.parameters)))):
        raise session.diverged(session.layout.steps - 1)
    if config.verify_replicas:
        check_replicas(world, session.replicas)
    metrics = {
        "epoch": progress.epoch + 1,
        "step": progress.update,
        "samples": progress.samples,
        "seconds": progress.seconds,
        "samples_per_second": progress.samples / progress.seconds,
        "learning_rate": session.learning_rate(progress.update - 1),
        "train_loss": progress.loss_sum / progress.weight_sum,
        **scores.named("test"),
        "world_size": world.size,
    }
    is_best = True
    if task.validation:
        monitored = session.monitored(task.validation, validation_scores)
        metrics |= {**validation_scores.named("validation"), config.monitor: monitored}
        is_best = session.keep_if_best(monitored) if config.early_stopping else True
    progress.finish_epoch()
    return EpochDone(metrics, is_best)
