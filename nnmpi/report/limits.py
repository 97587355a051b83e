"""What a model card has to say against a model, as far as its numbers tell."""

import math

from nnmpi.report.classification import calibration_error, short
from nnmpi.report.predictions import Predictions
from nnmpi.report.run_files import RunFiles
from nnmpi.report.score import Score

FEW = 20  # samples of a class, too few for a score of it
LISTED = 8  # classes


def limits(run: RunFiles, predictions: Predictions | None, scores: list[Score]) -> list[str]:
    """One sentence each."""
    found = []
    if run.state != "finished":
        found.append(f"The training is {run.state}; the model is the last that was written.")
    if predictions is None:
        return [*found, "The model was not run on a test part: nothing here says how good it is."]
    first = scores[0]
    if first.interval and first.to_beat is not None and first.interval[0] <= first.to_beat:
        found.append(
            f"The interval of the {first.name} holds {first.to_beat:.4f}, the score of the best constant answer: the "
            "model is not shown to be better than that."
        )
    if predictions.task != "regression":
        one, several = ("class", "classes") if predictions.task == "classification" else ("label", "labels")
        rows = predictions.table[several]
        few = [short(str(row[one]), 30) for row in rows if row["samples"] < FEW]
        weak = [short(str(row[one]), 30) for row in rows if row["samples"] >= FEW and (row["recall"] or 0) < 0.5]
        if few:
            found.append(f"Fewer than {FEW} test samples of {_listed(few)}: scores of these {several} say little.")
        if weak:
            found.append(f"Finds less than half of the samples of {_listed(weak)}.")
    if predictions.task == "classification":
        error = calibration_error(predictions)
        if not math.isnan(error) and error > 0.05:
            found.append(f"Probabilities are off by {error:.2f} on average: do not take them at their word.")
    losses = run.column("test_loss")
    kept = run.best_epoch()
    known = [i for i, loss in enumerate(losses) if not math.isnan(loss)]
    if kept is not None and known:
        lowest = min(known, key=lambda i: losses[i])
        if losses[kept] > 1.05 * losses[lowest] and kept > lowest:
            found.append(
                f"The test loss was lowest in epoch {lowest + 1} and has risen since: the model may be overfitted; "
                "see --early-stopping."
            )
    if not run.settings.get("test_data"):
        found.append(
            "The test part comes from the same data as the training part: the scores say nothing of data from other "
            "places or later times."
        )
    return found


def _listed(labels: list[str]) -> str:
    more = f" and {len(labels) - LISTED} more" if len(labels) > LISTED else ""
    return ", ".join(labels[:LISTED]) + more
