"""The summaries that ``train`` prints at its start and at its end."""

import shlex
import textwrap
from pathlib import Path
from typing import Any

from nnmpi.commands.progress import clock
from nnmpi.text import counted, labelled, printable
from nnmpi.training.session import Session

LABEL = 10  # characters of the column of labels


def start_summary(session: Session, directory: Path | None, threads: int, width: int) -> str:
    """Return the reason for the kind of targets, and a table of data, network, training, ranks and `directory`."""
    config, task, world = session.config, session.task, session.world
    source, architecture, layout = task.source, task.architecture, session.layout
    columns = f"{source.features} columns" if source.columns else f"{source.features} features"
    if source.columns and architecture.sizes[0] != source.features:
        columns += f" ({architecture.sizes[0]} features)"
    parts = ", ".join(f"{rows:,} {name}" for name, rows in task.samples.items() if rows)
    hosts = session.description["hosts"]
    sizes = "-".join(map(str, architecture.sizes))
    activations = f"{architecture.activation}, {architecture.output_activation}; {architecture.loss}"
    rows = {
        "data": f"{source.name}: {source.size:,} rows, {columns}, {_targets(task)}; {parts}",
        "network": f"{sizes}, {activations}; {architecture.parameters:,} parameters, {architecture.dtype}",
        "training": f"{counted(config.epochs, 'epoch')} of {counted(layout.steps, 'step')} of {layout.batch_size:,} "
        f"samples, {config.optimizer}, learning rate {config.learning_rate:g} {config.lr_schedule}",
        "ranks": f"{counted(world.size, 'rank')} on {counted(len(set(hosts)), 'host')}, "
        f"{counted(threads, 'thread')} each" + f"; gradients added up by {session.reduction.name}" * (world.size > 1),
    }
    if directory:
        rows["output"] = str(directory)
    reason = textwrap.fill(printable(task.target_reason), width, subsequent_indent=" " * LABEL)
    return f"{reason}\n{table(rows, width)}"


def end_summary(session: Session, directory: Path, seconds: float, speed: float, width: int) -> str:
    """Return a table of the best epoch, the time, the files of the results and a command to try next."""
    progress = session.progress
    rows = {}
    if progress.best_epoch:
        monitored = f"{session.config.monitor.replace('_', ' ')} {progress.best_score:.4f}"
        rows["best"] = f"{monitored} after epoch {progress.best_epoch} of {progress.epoch}"
    rows["time"] = duration(seconds) + (f", {speed:,.0f} samples/s in training" if speed else "")
    rows["results"] = f"{directory}: model.safetensors, metrics.jsonl, config.json"
    rows["next"] = f"nnmpi report {shlex.quote(str(directory))}"
    return table(rows, width)


def duration(seconds: float) -> str:
    """Return a time as ``3.2 s`` or ``12:03``."""
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def table(rows: dict[str, str], width: int) -> str:
    """Return lines of a label and a text each, wrapped to `width` columns."""
    return "\n".join(labelled(label, text, max(width, 2 * LABEL), LABEL) for label, text in rows.items() if text)


def _targets(task: Any) -> str:
    if task.targets.task == "multilabel":
        return counted(task.targets.outputs, "label")
    if task.targets.task == "regression":
        return counted(task.targets.outputs, "number") + " to predict"
    return counted(len(task.targets.classes), "class", "classes")
