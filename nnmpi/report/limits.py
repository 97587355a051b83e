"""The limits of a model for its model card, as far as scores and settings show them."""

import math

from nnmpi.report.classification import calibration_error, short
from nnmpi.report.predictions import Predictions
from nnmpi.report.run_files import RunFiles
from nnmpi.report.score import Score

FEW = 20  # test samples: the scores of a class with fewer are unreliable
LISTED = 8  # classes or labels named in a sentence, at most


def limits(run: RunFiles, predictions: Predictions | None, scores: list[Score]) -> list[str]:
    """Return the limits, one sentence each."""
    sentences = []
    if run.state != "finished":
        sentences.append(f"The run is {run.state}; the model is the last one that was written.")
    if predictions is None:
        return [*sentences, "The model was not run on a test part, so its quality is unknown."]
    first = scores[0]
    if first.interval and first.baseline is not None and first.interval[0] <= first.baseline:
        sentences.append(
            f"The 95 % interval of the {first.name} does not lie above {first.baseline:.4f}, the score of the best "
            "constant prediction: the test does not show that the model is better."
        )
    if predictions.task != "regression":
        singular, plural = ("class", "classes") if predictions.task == "classification" else ("label", "labels")
        rows = predictions.table[plural]
        names = [short(str(row[singular]), 30) for row in rows]
        counts = predictions.samples_of_classes()
        few = [name for name, count in zip(names, counts, strict=True) if count < FEW]
        recalls = [row["recall"] or 0 for row in rows]
        weak = [
            name for name, count, recall in zip(names, counts, recalls, strict=True) if count >= FEW and recall < 0.5
        ]
        if few:
            sentences.append(
                f"Fewer than {FEW} test samples of {_listed(few)}: scores of these {plural} are unreliable."
            )
        if weak:
            sentences.append(f"The model finds less than half of the samples of {_listed(weak)}.")
    if predictions.task == "classification":
        error = calibration_error(predictions)
        if not math.isnan(error) and error > 0.05:
            sentences.append(f"The predicted probabilities are off by {error:.2f} on average: do not rely on them.")
    losses = run.column("test_loss")
    kept = run.kept_epoch()
    known = [i for i, loss in enumerate(losses) if not math.isnan(loss)]
    if kept is not None and known:
        lowest = min(known, key=lambda i: losses[i])
        if losses[kept] > 1.05 * losses[lowest] and kept > lowest:
            epoch = run.column("epoch")[lowest]
            sentences.append(
                f"The test loss was lowest in epoch {epoch:.0f} and is higher now: the model may be overfitted; see "
                "--early-stopping."
            )
    if not run.settings.get("test_data"):
        sentences.append(
            "The test part comes from the same data as the training part: the scores do not tell how good the "
            "model is on data from other places or later times."
        )
    return sentences


def _listed(labels: list[str]) -> str:
    more = f" and {len(labels) - LISTED} more" if len(labels) > LISTED else ""
    return ", ".join(labels[:LISTED]) + more
