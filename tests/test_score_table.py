"""The table of scores fits into 80 columns and is plain text, whatever the labels are."""

import io
from contextlib import redirect_stdout
from typing import Any

import pytest

from nnmpi.commands.score_table import largest_class_note, print_scores


def scores(labels: list[Any], accuracy: float | None = 0.75, share: float = 0.5) -> dict[str, Any]:
    classes = [
        {"class": label, "samples": 1000 * i, "precision": None if i == 0 else 0.5, "recall": 0.25, "f1": i / 100}
        for i, label in enumerate(labels)
    ]
    return {"samples": 9, "loss": 0.1, "accuracy": accuracy, "roc_auc": None, "largest_class_share": share} | {
        "classes": classes,
        "top_5_accuracy": None,
    }


def printed(values: dict[str, Any], title: str = "title") -> str:
    with redirect_stdout(io.StringIO()) as out:
        print_scores(values, title)
    return out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_of_the_launcher_gets_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    with redirect_stdout(Terminal()) as out:
        print_scores(scores(["late", "on time"]), "title")
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    "labels",
    [
        ["late", "on time"],
        [0, 1, 2],
        [False, True],
        ["[bold]x[/bold]", ":smile:", "a" * 300],
        ["\x1b[31mred", "two\nlines", "\u202eright to left"],
        ["日本語" * 20, "Zürich", ""],
        list(range(1000)),
    ],
)
def test_fits_a_terminal_and_is_plain(labels: list[Any]) -> None:
    text = printed(scores(labels))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert len(lines) < 30
    assert "undefined" in text
    assert "top-5" not in text


def test_labels_are_shown_as_they_are() -> None:
    text = printed(scores(["[bold]x[/bold]", "plain"]))
    assert "[bold]x[/bold]" in text


def test_numbers_stand_in_their_columns() -> None:
    lines = printed(scores(["late", "on time"])).splitlines()
    assert [line.split() for line in lines if "late" in line or "on time" in line] == [
        ["late", "0", "undefined", "0.2500", "0.0000"],
        ["on", "time", "1,000", "0.5000", "0.2500", "0.0100"],
    ]


def test_of_many_classes_the_worst_are_shown() -> None:
    lines = printed(scores(list(range(50)))).splitlines()
    assert any("10 of 50 classes" in line for line in lines)
    assert [line.split()[0] for line in lines[-10:]] == [str(i) for i in range(10)]


@pytest.mark.parametrize(("accuracy", "share"), [(0.5, 0.5), (0.4, 0.78)])
def test_an_accuracy_that_is_not_above_the_largest_class_is_named(accuracy: float, share: float) -> None:
    note = largest_class_note(scores(["late", "on time"], accuracy, share))
    assert note == f"note: always predicting on time has an accuracy of {share:.4f}"


@pytest.mark.parametrize("accuracy", [0.79, None])
def test_else_it_is_not(accuracy: float | None) -> None:
    assert largest_class_note(scores(["late", "on time"], accuracy, 0.78)) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (2.34567e-7, "2.34567e-07"), (-3e-5, "-3e-05"), (0.98765, "0.9877"), (1.5e200, "1.5e+200")],
)
def test_small_and_large_numbers_keep_their_digits(value: float, text: str) -> None:
    assert text in printed({"samples": 9, "loss": 0.1, "r2": 0.5, "mae": value})
