"""The table of scores that ``evaluate`` and the end of ``train`` print."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnmpi.text import printable, score_text
from nnmpi.training.scoring import titles_of

WIDTH = 80
MOST_CLASSES = 20  # up to this number all classes are shown
FEWEST_SHOWN = 10  # of more classes, this number with the lowest F1
LONGEST_LABEL = 20  # characters
IN_ANY_TERMINAL = {"r2": "R2"}


def print_scores(scores: dict[str, Any], title: str) -> None:
    """Print the scores of a part, as `nnmpi.training.scoring` returns them, in 80 columns under a title."""
    print(printable(title))
    # no escape codes: under Open MPI rank 0 has a terminal even if the launcher writes to a file
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False, force_terminal=False)
    console.print(_summary(scores))
    if "classes" in scores:
        console.print(_classes(scores["classes"], "class", "weight" if "weight" in scores else "samples"))
        console.file.flush()
        note = largest_class_note(scores)
        if note:
            print(note)
    if "labels" in scores:
        console.print(_classes(scores["labels"], "label", "weight" if "weight" in scores else "samples"))


def largest_class_note(scores: dict[str, Any]) -> str:
    """Return a note if always predicting the largest class would be at least as accurate; else ""."""
    accuracy, share = scores.get("accuracy"), scores.get("largest_class_share")
    if accuracy is None or share is None or accuracy > share:
        return ""
    label = max(scores["classes"], key=lambda row: row["samples"])["class"]
    return f"note: always predicting {printable(_short(str(label)))} has an accuracy of {share:.4f}"


def _summary(scores: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=24)
    table.add_column(justify="right")
    for name, text in (titles_of(scores) | IN_ANY_TERMINAL).items():
        if name in scores and not (name == "top_5_accuracy" and scores[name] is None):
            table.add_row(f"  {text}{_of_class(name, scores)}", _number(scores[name]))
    return table


def _of_class(name: str, scores: dict[str, Any]) -> str:
    """Return the class that a metric refers to, if its value depends on the class."""
    classes = scores.get("classes", ())
    if name != "average_precision" or len(classes) != 2:
        return ""
    return f" of {printable(_short(str(classes[1]['class'])))}"


def _classes(classes: list[dict[str, Any]], heading: str, counted: str) -> Table:
    """Return a table of precision, recall and F1 of each class, or of each label, with its ROC AUC."""
    rows, key = classes, heading
    if len(classes) > MOST_CLASSES:
        rows = sorted(classes, key=lambda row: -1.0 if row["f1"] is None else row["f1"])[:FEWEST_SHOWN]
        heading = f"{FEWEST_SHOWN} of {len(classes)} {'classes' if key == 'class' else 'labels'}"
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column(Text(f"  {heading}"), min_width=24, no_wrap=True)
    names = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if key == "label":
        names |= {"roc_auc": "ROC AUC"}
    for name in (counted, *names.values()):
        table.add_column(Text(name), justify="right", no_wrap=True, min_width=9)
    for row in rows:
        label = Text(f"  {printable(_short(str(row[key])))}")
        samples = row["samples"]  # or their weight
        count = f"{samples:,}" if isinstance(samples, int) else f"{samples:,.1f}"
        table.add_row(label, count, *(_number(row[name]) for name in names))
    return table


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 3]}..."


def _number(value: float | None) -> str:
    return "undefined" if value is None else score_text(value)
