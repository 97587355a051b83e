"""What the predictions for the test part show, for the template of a page."""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from nnmpi.report import class_charts, classification, labels, regression
from nnmpi.report.classification import short
from nnmpi.report.pictures import worst_mistakes
from nnmpi.report.predictions import Predictions
from nnmpi.report.score import Score

SCORES = {"classification": classification.scores, "multilabel": labels.scores, "regression": regression.scores}


def scores_of_task(predictions: Predictions) -> list[Score]:
    """The scores with their intervals and what a constant answer gets."""
    return SCORES[predictions.task](predictions)


def results(predictions: Predictions | None, scores: list[Score]) -> dict[str, Any]:
    """The tables, charts and notes; all None without predictions."""
    context: dict[str, Any] = dict.fromkeys(
        (
            *("scores", "classes", "matrix", "class_charts", "confusions", "quantiles", "error_charts", "mistakes"),
            *("labels", "label_charts"),
        )
    )
    if predictions is None:
        return context
    context["scores"] = [
        {
            "name": score.name,
            "value": number(score.value),
            "interval": f"{number(score.interval[0])} to {number(score.interval[1])}" if score.interval else "",
            "to_beat": "" if score.to_beat is None else number(score.to_beat),
        }
        for score in scores
    ]
    context["mistakes"] = worst_mistakes(predictions)
    if predictions.task == "regression":
        context["scores_note"] = (
            "Intervals: bootstrap over the test samples with a fixed seed, percentiles. The line to beat is the score "
            "of the best constant: the mean, for absolute errors the median. The loss is of standardized targets."
        )
        context["quantiles"] = regression.error_quantiles(predictions)
        context["error_charts"] = safe(regression.charts(predictions))
        context["mistakes_note"] = "The largest errors; “by” is the absolute error."
        return context
    if predictions.task == "multilabel":
        context["scores_note"] = (
            f"{_intervals(predictions)} The line to beat is the score of a constant answer: of the accuracy the most "
            "frequent set of labels, of F1 all labels, of the log loss their shares."
        )
        context["labels"] = [{**row, "name": short(row["label"], 60)} for row in predictions.table["labels"]]
        context["label_charts"] = safe(labels.curve_charts(predictions))
        context["mistakes_note"] = (
            "“By” is how far the probabilities are from the truth, 0 or 1, summed over the labels."
        )
        return context
    context["scores_note"] = (
        f"{_intervals(predictions)} The line to beat is the score of a constant answer: the largest class, or for the "
        "log loss the shares of the classes."
    )
    context["classes"] = [{**row, "label": short(str(row["class"]), 60)} for row in predictions.table["classes"]]
    context["matrix"] = Markup(class_charts.matrix_chart(predictions))
    context["confusions"] = [(short(a, 60), short(p, 60), n) for a, p, n in classification.confusions(predictions)]
    context["class_charts"] = safe(class_charts.curve_charts(predictions))
    error = classification.calibration_error(predictions)
    context["class_charts_note"] = (
        f"Mean distance of probability and share that is right (expected calibration error): {error:.4f}."
    )
    context["mistakes_note"] = (
        "“By” is the probability of the predicted class less that of the actual one."
        if predictions.probabilities is not None
        else ""
    )
    return context


def _intervals(predictions: Predictions) -> str:
    which = "Interval of the accuracy: Wilson's; of the others" if predictions.part.weights is None else "Intervals"
    return f"{which}: bootstrap over the test samples with a fixed seed, percentiles."


def safe(svgs: Iterable[str]) -> list[Markup]:
    """Charts, whose texts `nnmpi.report.svg` escaped."""
    return [Markup(svg) for svg in svgs]


def number(value: float) -> str:
    """A score as text."""
    return f"{value:.4f}" if abs(value) < 10_000 else f"{value:.6g}"
