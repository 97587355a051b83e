"""The results on the test part, for the template of the page."""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from nnmpi.report import class_charts, classification, labels, regression
from nnmpi.report.classification import short
from nnmpi.report.pictures import worst_mistakes
from nnmpi.report.predictions import Predictions
from nnmpi.report.score import Score
from nnmpi.text import score_text

SCORES = {"classification": classification.scores, "multilabel": labels.scores, "regression": regression.scores}


def scores_of_task(predictions: Predictions) -> list[Score]:
    """Return the scores with their intervals and baselines."""
    return SCORES[predictions.task](predictions)


def results(predictions: Predictions | None, scores: list[Score]) -> dict[str, Any]:
    """Return the tables, charts and notes by their names in the template; all None without predictions."""
    context: dict[str, Any] = dict.fromkeys(
        (
            *("scores", "classes", "matrix", "class_charts", "confusions", "quantiles", "error_charts", "mistakes"),
            *("labels", "label_charts", "matrix_numbers", "counted"),
        )
    )
    if predictions is None:
        return context
    context["scores"] = [
        {
            "name": score.name,
            "value": score_text(score.value),
            "interval": f"{score_text(score.interval[0])} to {score_text(score.interval[1])}" if score.interval else "",
            "baseline": "" if score.baseline is None else score_text(score.baseline),
        }
        for score in scores
    ]
    context["mistakes"] = worst_mistakes(predictions)
    context["counted"] = "samples" if predictions.part.weights is None else "sums of weights"
    if predictions.task == "regression":
        context["scores_note"] = (
            "Intervals: percentile bootstrap over the test samples, with a fixed seed. The baseline is the score of "
            "the best constant: the mean, for absolute errors the median. The loss is that of standardized targets."
        )
        context["quantiles"] = regression.error_quantiles(predictions)
        context["error_charts"] = as_markup(regression.charts(predictions))
        context["mistakes_note"] = "The largest absolute errors."
        return context
    if predictions.task == "multilabel":
        context["scores_note"] = (
            f"{_intervals(predictions)} The baseline is the score of a constant prediction: the most frequent set of "
            "labels for the accuracy, all labels for F1, their shares for the log loss."
        )
        context["labels"] = [{**row, "name": short(row["label"], 60)} for row in predictions.table["labels"]]
        context["label_charts"] = as_markup(labels.curve_charts(predictions))
        context["mistakes_note"] = "The error is the distance of the probabilities from 0 or 1, summed over the labels."
        return context
    context["scores_note"] = (
        f"{_intervals(predictions)} The baseline is the score of a constant prediction: the largest class, for the log "
        "loss the shares of the classes."
    )
    context["classes"] = [{**row, "label": short(str(row["class"]), 60)} for row in predictions.table["classes"]]
    context["matrix"] = Markup(class_charts.matrix_chart(predictions))
    context["matrix_numbers"] = len(context["classes"]) <= class_charts.MOST_NUMBERS
    context["confusions"] = [(short(a, 60), short(p, 60), n) for a, p, n in classification.confusions(predictions)]
    context["class_charts"] = as_markup(class_charts.curve_charts(predictions))
    error = classification.calibration_error(predictions)
    context["class_charts_note"] = (
        f"Mean distance of the probability from the share of correct predictions (calibration error): {error:.4f}."
    )
    context["mistakes_note"] = (
        "The error is the probability of the predicted class minus that of the actual class."
        if predictions.probabilities is not None
        else ""
    )
    return context


def _intervals(predictions: Predictions) -> str:
    unweighted = predictions.part.weights is None
    scores = "Interval of the accuracy: Wilson. Other intervals" if unweighted else "Intervals"
    return f"{scores}: percentile bootstrap over the test samples, with a fixed seed."


def as_markup(svgs: Iterable[str]) -> list[Markup]:
    """Mark charts as safe HTML: `nnmpi.report.svg` escaped their texts."""
    return [Markup(svg) for svg in svgs]
