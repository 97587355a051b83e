"""Render the report of one or several runs as one HTML page that loads nothing."""

import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nnmpi import __version__
from nnmpi.errors import InputError
from nnmpi.mpi.world import World
from nnmpi.report.classification import short
from nnmpi.report.compare import compare, run_names
from nnmpi.report.curves import MOST_RUNS, curves, overlaid
from nnmpi.report.facts import command_line, data_facts, model_facts, run_facts, settings_facts
from nnmpi.report.importance import REPEATS, Importance, permutation_importance
from nnmpi.report.limits import limits
from nnmpi.report.predictions import Predictions, predict_test_part
from nnmpi.report.rank_times import drawing, find_timeline, rank_times, read_timeline
from nnmpi.report.results import as_markup, results, scores_of_task
from nnmpi.report.run_files import RunFiles, read_run
from nnmpi.report.score import Score
from nnmpi.report.svg import BLUE, INK, chart
from nnmpi.text import score_text

MOST_CLASSES = 200  # rows of the table of classes, at most
MOST_METRICS = 6  # charts of a page of several runs, at most
MOST_COLUMNS = 30  # bars of the chart of importance, at most


def run_page(directory: Path, world: World) -> str:
    """Return the page of the run in `directory`. `world` has one rank.

    Raises
    ------
    InputError
        If the settings of the run cannot be read.
    """
    run = read_run(directory)
    if not run.settings:
        raise InputError(f"report {directory}: {run.problem}")
    problems = [run.problem] if run.problem else []
    predictions = None
    try:
        predictions = predict_test_part(directory, world)
    except InputError as error:
        problems.append(f"No scores: the model could not be run on its test part: {error}")
    name = run_names([directory])[0]
    scores = scores_of_task(predictions) if predictions else []
    context = {
        "title": f"{name}: {scores[0].name} {scores[0].value:.4f}" if scores else name,
        "subtitle": _subtitle(run),
        "cards": _cards(run, scores, predictions),
        "curves": as_markup(curves(run)),
        "curves_note": _curves_note(run),
        "command": command_line(run),
        "settings": settings_facts(run),
        "run_facts": run_facts(run),
        "card_model": model_facts(run, predictions),
        "card_data": data_facts(run, predictions),
        "limits": limits(run, predictions, scores),
        "most_classes": MOST_CLASSES,
        **results(predictions, scores),
        **_importance(predictions, world),
        **_times(run, problems),
    }
    return _render("run.html.j2", problems=problems, **context)


def runs_page(directories: list[Path]) -> str:
    """Return the page of several runs: a table that can be sorted, and charts of the curves of the first metrics.

    Raises
    ------
    InputError
        If no run can be read.
    """
    runs = [read_run(directory) for directory in directories]
    if not any(run.settings for run in runs):
        raise InputError(f"report: no run can be read: {directories[0]}: {runs[0].problem}")
    comparison = compare(runs)
    names = zip(comparison.names, comparison.runs, strict=True)
    problems = [f"{name}: {run.note}" for name, run in names if run.problem]
    heads = [{"name": "run", "numeric": False}]
    heads += [{"name": name.replace("_", " "), "numeric": True} for name in (*comparison.metrics, *comparison.settings)]
    rows = []
    for name, run in zip(comparison.names, comparison.runs, strict=True):
        scores = run.scores()
        texts: list[tuple[Any, str]] = [(name, name)]
        texts += [(scores.get(m, ""), score_text(scores[m]) if m in scores else "") for m in comparison.metrics]
        texts += [(comparison.setting(run, s),) * 2 for s in comparison.settings]
        cells = zip(heads, texts, strict=True)
        rows.append([{"head": h["name"], "numeric": h["numeric"], "value": v, "text": t} for h, (v, t) in cells])
    metrics = [name for name in comparison.metrics if not name.startswith("train_")]
    drawn_metrics = metrics[:MOST_METRICS]
    notes = [f"The charts show the first {MOST_RUNS} of {len(runs)} runs."] if len(runs) > MOST_RUNS else []
    notes += [f"There are charts of the first {MOST_METRICS} of {len(metrics)} metrics."] * (
        len(metrics) > MOST_METRICS
    )
    return _render(
        "runs.html.j2",
        title=f"{len(runs)} runs",
        subtitle=f"Sorted by {comparison.metrics[0].replace('_', ' ')}." if comparison.metrics else "",
        problems=problems,
        heads=heads,
        rows=rows,
        curves=as_markup(overlaid(comparison, metric) for metric in drawn_metrics),
        curves_note=" ".join(notes),
        sort_js=_file("sort.js"),
    )


def _render(template: str, **context: Any) -> str:
    environment = Environment(
        loader=PackageLoader("nnmpi.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(css=_file("style.css"), version=__version__, **context)


def _file(name: str) -> Markup:
    return Markup(files("nnmpi.report").joinpath("templates", name).read_text("utf-8"))


def _subtitle(run: RunFiles) -> str:
    architecture = run.config.get("architecture")
    sizes = architecture.get("sizes") if isinstance(architecture, dict) else None
    network = "-".join(map(str, sizes)) if isinstance(sizes, list) else "network"
    data = short(str(run.settings.get("data", "unknown data")), 120)
    ranks = run.config.get("world_size")
    return f"{network} on {data}, {len(run.epochs)} epochs, {ranks} rank{'' if ranks == 1 else 's'}, {run.state}"


def _cards(run: RunFiles, scores: list[Score], predictions: Predictions | None) -> list[dict[str, Any]]:
    cards = []
    for score in scores[:3]:
        lines = []
        if score.interval:
            lines.append(f"95 % interval: {score_text(score.interval[0])} to {score_text(score.interval[1])}")
        if score.baseline is not None:
            lines.append(f"baseline: {score_text(score.baseline)}")
        cards.append({"name": f"test {score.name}", "value": score_text(score.value), "lines": lines})
    if predictions:
        samples = run.config.get("samples")
        count = samples.get("training") if isinstance(samples, dict) else None
        lines = [f"trained on {count:,} samples" if isinstance(count, int) else ""]
        cards.append({"name": "test samples", "value": f"{predictions.table['samples']:,}", "lines": lines})
    return cards


def _curves_note(run: RunFiles) -> str:
    kept = run.kept_epoch()
    if kept is None or "validation_loss" not in run.metrics():
        return ""
    epoch = run.column("epoch")[kept]
    return f"The model is that of epoch {epoch:.0f}: the best one with --early-stopping, else the last."


def _importance(predictions: Predictions | None, world: World) -> dict[str, Any]:
    context: dict[str, Any] = {"importance": "", "importance_note": ""}
    if predictions is None or predictions.source.image is not None:
        return context
    columns = permutation_importance(predictions, world)
    if columns:
        some = f" The chart shows the first {MOST_COLUMNS} of {len(columns)} columns."
        context["importance"] = Markup(_importance_chart(columns[:MOST_COLUMNS]))
        context["importance_note"] = (
            f"Mean rise of the test loss when a column is shuffled, up to {REPEATS} times, with a fixed seed. The "
            "lines are standard deviations. Columns with the same information share their importance."
            f"{some if len(columns) > MOST_COLUMNS else ''}"
        )
    return context


def _importance_chart(columns: list[Importance]) -> str:
    with chart("importance of columns", 4.4, 0.8 + 0.2 * len(columns)) as drawn:
        axes, positions = drawn.axes, range(len(columns))
        rises, deviations = [c.rise for c in columns], [c.deviation for c in columns]
        axes.barh(positions, rises, xerr=deviations, color=BLUE, ecolor=INK, height=0.65)
        axes.set_yticks(positions, [short(c.column, 24) for c in columns])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("rise of the loss")
    return drawn.svg


def _times(run: RunFiles, problems: list[str]) -> dict[str, Any]:
    context: dict[str, Any] = {"times": None}
    path = find_timeline(run)
    if path is None:
        return context
    try:
        tracks = read_timeline(path)
    except ValueError as error:
        problems.append(f"No times by rank: {path}: {error}")
        return context
    times = []
    for rank in rank_times(tracks):
        total = rank.total or math.inf
        groups = [
            {"name": name, "seconds": seconds, "percent": 100 * seconds / total, "style": name.lower().replace("/", "")}
            for name, seconds in rank.seconds.items()
        ]
        times.append({"name": rank.name, "groups": groups, "total": rank.total})
    left_out = f" Not recorded: {tracks.left_out}." if tracks.left_out else ""
    context |= {
        "times": times,
        "timeline": drawing(tracks),
        "timeline_note": f"Source: {path}.{left_out} In the table the time of nested slices counts for the inner one.",
        "timeline_js": _file("timeline.js"),
    }
    return context
