"""Facts about a run besides its scores: settings, versions, hosts, and the command that repeats it."""

import contextlib
import hashlib
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from nnmpi.config import Config
from nnmpi.report.compare import ABOUT_FILES
from nnmpi.report.predictions import Predictions
from nnmpi.report.run_files import RunFiles
from nnmpi.setting import flag_of, flag_value

Facts = list[tuple[str, str]]
LONGEST = 600  # characters of a value, at most


def settings_facts(run: RunFiles) -> Facts:
    """Return the settings with their flags."""
    return [(flag_of(name), _text(flag_value(value))) for name, value in run.settings.items()]


def run_facts(run: RunFiles) -> Facts:
    """Return the other contents of ``config.json``, and the checksum of the model."""
    facts = [("directory", _text(str(run.directory.absolute())))]
    for name, value in _flat("", {k: v for k, v in run.config.items() if k not in ("settings", "architecture")}):
        table = name.startswith("scores: ") and name.endswith((": classes", ": labels", ": confusion_matrix"))
        if not table:  # the page shows tables in another section
            facts.append((name.replace("_", " "), _text(value)))
    model = run.directory / "model.safetensors"
    with contextlib.suppress(OSError):
        if model.is_file():  # reading a pipe may never end
            with open(model, "rb") as file:
                facts.append(("SHA-256 of the model", hashlib.file_digest(file, "sha256").hexdigest()))
    return facts


def command_line(run: RunFiles) -> str:
    """Return the command that repeats the run: the same number of ranks and all settings that are not the default."""
    words = ["nnmpi", "train"]
    for f in fields(Config):
        value = run.settings.get(f.name, f.default)
        if isinstance(value, list):
            value = tuple(value)
        if f.name in ABOUT_FILES or value is None or (value == f.default and f.name != "data"):
            continue
        if isinstance(value, bool):
            words.append(flag_of(f.name) if value else f"--no-{flag_of(f.name)[2:]}")
        else:
            words += [flag_of(f.name), flag_value(value)]
    ranks = run.config.get("world_size")
    launcher = ["mpirun", "-n", str(ranks)] if isinstance(ranks, int) and ranks > 1 else []
    return shlex.join(launcher + words)


def model_facts(run: RunFiles, predictions: Predictions | None) -> Facts:
    """Return the facts about the model for its model card."""
    facts: Facts = []
    if predictions:
        architecture = predictions.model.architecture
        facts += [
            ("layers", "-".join(map(str, architecture.sizes))),
            ("parameters", f"{architecture.parameters:,}, {architecture.dtype}"),
            ("activation", f"{architecture.activation}, output {architecture.output_activation}"),
            ("loss", architecture.loss),
        ]
    settings = run.settings
    facts += [
        ("optimizer", _text(f"{settings.get('optimizer')}, learning rate {settings.get('learning_rate')}")),
        ("training", _text(f"{len(run.epochs)} epochs, batches of {settings.get('batch_size')}")),
    ]
    versions = run.config.get("versions")
    if isinstance(versions, dict) and "nnmpi" in versions:
        facts.append(("trained by", _text(f"nnmpi {versions['nnmpi']}")))
    return facts


def data_facts(run: RunFiles, predictions: Predictions | None) -> Facts:
    """Return the facts about the training data for the model card."""
    facts = [("data", _text(str(run.settings.get("data"))))]
    samples = run.config.get("samples")
    if isinstance(samples, dict):
        facts += [(f"{part} samples", _text(f"{n:,}" if isinstance(n, int) else str(n))) for part, n in samples.items()]
    if predictions:
        facts.append(("features", f"{predictions.source.features:,}"))
        classes = predictions.classes or []
        if predictions.task == "multilabel":
            labels = predictions.model.targets.labels
            facts.append(("labels", _text(f"{len(labels)}: {', '.join(labels[:100])}")))
        elif predictions.task == "regression":
            count = predictions.y.shape[1]
            facts.append(("targets", f"{count} number{'s' * (count > 1)}"))
        else:
            facts.append(("classes", _text(f"{len(classes)}: {', '.join(classes[:100])}")))
    others = {part: run.settings.get(f"{part}_data") for part in ("validation", "test")}
    facts += [(f"{part} data", _text(str(name))) for part, name in others.items() if name]
    if not others["test"]:
        facts.append(("split", _text(f"random, seed {run.settings.get('seed')}")))
    return facts


def _flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict) and value and len(prefix) < 200:
            yield from _flat(f"{prefix}{name}: ", value)
        elif isinstance(value, list) and name == "command":
            yield prefix + name, shlex.join(map(str, value))
        elif isinstance(value, list) and name == "hosts":
            yield prefix + name, ", ".join(f"{host} ({n})" for host, n in Counter(map(str, value)).items())
        elif value not in (None, [], {}):
            yield prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _text(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
