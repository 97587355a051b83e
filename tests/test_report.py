"""``nnmpi report``: the page is complete, shows the scores of ``evaluate``, and treats no value as markup."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer, Run
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    mean_absolute_error,
    median_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.model_selection import train_test_split

import nnmpi as package
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.world import World
from nnmpi.report.classification import _of_probabilities
from nnmpi.report.predictions import predict_test_part
from nnmpi.training.scoring import titles_of

Train = Callable[..., Run]
SECONDS = 120  # for one page, also on a busy machine
VOID = {"meta", "link", "br", "img"}
DIGITS = ("--data", "digits", "--epochs", "3", "--early-stopping", "9")
HOSTILE = [
    "</script><script>document.title='hacked'</script>",
    "<img src=x onerror=\"document.title='hacked'\">",
    "$\\frac{ & 'quotes' --> ]]> {{ 7*7 }} {% raw %}",
    "\U0001f600 \u202eevil",
]


class Page(HTMLParser):
    """The tables, addresses, texts and scripts of a page; it fails if an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.addresses: list[str] = []
        self.elements: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        values = dict(attributes)
        self.ids += [str(values["id"])] if "id" in values else []
        self.addresses += [str(values[name]) for name in ("src", "href", "xlink:href", "action") if name in values]
        assert not any(name.startswith("on") for name in values), attributes
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def table(self, *head: str) -> list[list[str]]:
        """Return the rows of the table whose head begins with these cells."""
        return next(table[1:] for table in self.tables if table[0][: len(head)] == list(head))

    def scores(self) -> dict[str, str]:
        return {row[0]: row[1] for row in self.table("score", "value")}


def page_of(nnmpi: CommandServer, directory: Path, path: Path) -> Page:
    nnmpi("report", str(directory), "--out", str(path), timeout=SECONDS).succeeded()
    text = path.read_text("utf-8")
    assert len(text.encode()) < 3_000_000
    page = Page(text)
    assert all(address.startswith(("#", "data:")) for address in page.addresses), page.addresses
    assert not re.findall(r"url\((?!#)|@import", text)
    assert len(set(page.ids)) == len(page.ids)
    return page


@pytest.fixture(scope="module")
def digits(train: Train, nnmpi: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(nnmpi, train(*DIGITS).directory, tmp_path_factory.mktemp("page") / "report.html")


def held_out(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the test part that the default flags give."""
    rows = train_test_split(np.arange(len(x)), test_size=0.2, random_state=42)[1]
    return x[rows], y[rows]


def test_scores_are_those_of_evaluate(train: Train, nnmpi: CommandServer, digits: Page) -> None:
    last = nnmpi("evaluate", str(train(*DIGITS).directory)).succeeded().out.splitlines()[-1]
    scores = digits.scores()
    assert last == f"test accuracy {scores['accuracy']}, test loss {scores['loss']}"


@pytest.mark.parametrize("flags", [DIGITS, ("--data", "diabetes", "--epochs", "5")])
def test_every_score_is_that_of_evaluate(
    train: Train, nnmpi: CommandServer, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    run = train(*flags)
    table = json.loads(nnmpi("evaluate", str(run.directory), "--json").succeeded().out)
    scores = page_of(nnmpi, run.directory, tmp_path / "page.html").scores()
    names = titles_of(table) | {"loss": "loss"}
    expected = {label: table[name] for name, label in names.items() if table.get(name) is not None}
    assert scores == {label: f"{value:.4f}" for label, value in expected.items()}
    assert len(scores) >= 5


@pytest.mark.parametrize("loss", ["auto", "binary-cross-entropy"])
def test_intervals_are_of_the_scores_of_evaluate(loss: str, train: Train, tmp_path: Path) -> None:
    """On the samples as they are, the resampled statistic is the score, even if the network is sure and wrong."""
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", X=generator.standard_normal((400, 20)), y=generator.integers(0, 2, 400))
    flags = ("--data", str(tmp_path / "noise.npz"), "--epochs", "60", "--learning-rate", "0.2", "--loss", loss)
    predictions = predict_test_part(train(*flags).directory, World(Alone()))
    probabilities, y = predictions.probabilities, predictions.y
    assert probabilities[np.arange(len(y)), y].min() < np.finfo(np.float32).eps
    value = _of_probabilities(predictions)["log_loss"](np.ones(len(y)))
    assert value == pytest.approx(predictions.table["log_loss"], rel=1e-9)


def test_a_classifier_s_numbers_are_scikit_learn_s(train: Train, digits: Page) -> None:
    x, y = held_out(*load_digits(return_X_y=True))
    model = package.load(train(*DIGITS).directory)
    predicted, probabilities = model.predict(x), model.predict_proba(x)
    scores = digits.scores()
    assert scores["balanced accuracy"] == f"{balanced_accuracy_score(y, predicted):.4f}"
    rows = zip(*precision_recall_fscore_support(y, predicted), strict=True)
    expected = [[str(i), f"{p:.4f}", f"{r:.4f}", f"{f:.4f}", str(s)] for i, (p, r, f, s) in enumerate(rows)]
    assert digits.table("class", "precision") == expected
    macro = precision_recall_fscore_support(y, predicted, average="macro")[2]
    assert scores["F1 (mean of the classes)"] == f"{macro:.4f}"
    auc = roc_auc_score(y, probabilities, multi_class="ovr")
    precision = average_precision_score(np.eye(10)[y], probabilities, average="macro")
    assert scores["ROC AUC"] == f"{auc:.4f}"
    assert scores["average precision"] == f"{precision:.4f}"
    wrong = confusion_matrix(y, predicted) * (1 - np.eye(10, dtype=int))
    assert sum(int(row[2]) for row in digits.table("actual", "predicted", "samples")) == wrong.sum()
    assert {row[0]: row[3] for row in digits.table("score")}["accuracy"] == f"{np.bincount(y).max() / len(y):.4f}"


def test_two_classes_have_one_curve(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    run = train("--data", "breast_cancer", "--epochs", "3", "--loss", "binary-cross-entropy")
    page = page_of(nnmpi, run.directory, tmp_path / "page.html")
    x, y = held_out(*load_breast_cancer(return_X_y=True))
    probability = package.load(run.directory).predict_proba(x)[:, 1]
    scores = page.scores()
    assert scores["ROC AUC"] == f"{roc_auc_score(y, probability):.4f}"
    assert scores["average precision"] == f"{average_precision_score(y, probability):.4f}"
    assert "rise of the loss" in page.text  # importance of columns


def test_a_regression_is_in_its_own_units(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    run = train("--data", "diabetes", "--epochs", "5")
    page = page_of(nnmpi, run.directory, tmp_path / "page.html")
    scores = page.scores()
    last = nnmpi("evaluate", str(run.directory)).succeeded().out.splitlines()[-1]
    assert last == f"test r2 {scores['R²']}, test loss {scores['loss']}"
    x, y = held_out(*load_diabetes(return_X_y=True))
    predicted = package.load(run.directory).predict(x)
    assert float(scores["R²"]) == pytest.approx(r2_score(y, predicted), abs=1e-4)
    for name, metric in (
        ("mean absolute error", mean_absolute_error),
        ("root mean squared error", root_mean_squared_error),
        ("median absolute error", median_absolute_error),
    ):
        assert float(scores[name]) == pytest.approx(metric(y, predicted), abs=2e-3)
    quantiles = dict(page.table("share of the samples"))
    assert float(quantiles["95 %"]) == pytest.approx(np.quantile(abs(y - predicted), 0.95), rel=1e-3)
    assert float(page.table("row", "actual")[0][3]) == pytest.approx(abs(y - predicted).max(), rel=1e-3)


def test_images_are_shown(digits: Page) -> None:
    wrong = sum(int(row[2]) for row in digits.table("actual", "predicted", "samples"))
    assert sum(address.startswith("data:image/png;base64,") for address in digits.addresses) == min(24, wrong) > 0


def test_the_same_run_has_the_same_page(train: Train, nnmpi: CommandServer, digits: Page, tmp_path: Path) -> None:
    assert page_of(nnmpi, train(*DIGITS).directory, tmp_path / "page.html").text == digits.text


def test_how_to_repeat_it(digits: Page) -> None:
    assert "nnmpi train --data digits --epochs 3 --early-stopping 9" in digits.text


def test_a_test_part_of_its_own_is_named(nnmpi: CommandServer, digits: Page, tmp_path: Path) -> None:
    X, y = load_digits(return_X_y=True)
    np.savez(tmp_path / "first.npz", X=X[:900], y=y[:900])
    np.savez(tmp_path / "rest.npz", X=X[900:], y=y[900:])
    train = ("train", "first.npz", "--test-data", "rest.npz", "--epochs", "1", "--output", "run")
    nnmpi(*train, cwd=tmp_path).succeeded()
    config = tmp_path / "run/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"command": ["nnmpi", "train", "a b.csv"]}))
    page = page_of(nnmpi, tmp_path / "run", tmp_path / "page.html")
    rows = [row for table in page.tables for row in table]
    assert ["test data", "rest.npz"] in rows
    assert not any(row[0] == "split" for row in rows)
    assert "the same data as the training part" not in page.text
    assert "the same data as the training part" in digits.text
    assert ["command", "nnmpi train 'a b.csv'"] in rows


def test_values_are_text_everywhere(nnmpi: CommandServer, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y = np.repeat(HOSTILE, 60)
    x = random.normal(size=(len(y), 4)) + np.repeat(np.arange(4), 60)[:, None]
    data = tmp_path / "<b onclick='x'>&.npz"
    np.savez(data, X=x, y=y)
    output = tmp_path / "<script>document.title='hacked'<"
    timeline = tmp_path / "<i>.json"
    nnmpi(
        "train", "--data", str(data), "--epochs", "2", "--output", str(output), "--timeline", str(timeline)
    ).succeeded()
    document = json.loads(timeline.read_text())
    document["traceEvents"][0]["args"]["name"] = "</script><script>document.title='hacked'</script>"
    timeline.write_text(json.dumps(document))
    config = json.loads((output / "config.json").read_text())
    config["hosts"] = ["<script>document.title='hacked'</script>"]
    config["<img src=x>"] = {"<u>": "</td><script>"}
    (output / "config.json").write_text(json.dumps(config))
    page = page_of(nnmpi, output, tmp_path / "page.html")
    assert [row[0] for row in page.table("class", "precision")] == sorted(HOSTILE)
    assert page.elements.count("script") == 2  # the numbers of the timeline, and the code that draws them
    assert "u" not in page.elements
    assert page.elements.count("b") == 4  # the cards
    assert page.elements.count("i") == 5  # the bar of the one rank
    assert not any("hacked" in script and "</" in script for script in page.scripts)
    names = json.loads(page.scripts[0])
    assert names["tracks"][0]["name"] == "</script><script>document.title='hacked'</script>"
    shown = "".join(page.texts)
    assert "<b onclick='x'>&.npz" in shown
    assert "<script>document.title='hacked'<" in shown


def test_a_damaged_or_unfinished_run_says_so(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    source = train(*DIGITS).directory
    run = tmp_path / "run"
    run.mkdir()
    assert nnmpi("report", str(run)).status == 2
    assert nnmpi("report", str(tmp_path / "gone")).status == 2
    assert not (tmp_path / "gone").exists()
    for settings in ("null", "[]", "{}"):
        (run / "config.json").write_text(f'{{"settings": {settings}, "finished": true}}')
        assert nnmpi("report", str(run)).messages == [f"nnmpi: report {run}: config.json has no settings"]
    config = json.loads((source / "config.json").read_text())
    config["finished"] = False
    (run / "config.json").write_text(json.dumps(config))
    lines = (source / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])
    page = page_of(nnmpi, run, tmp_path / "page.html")  # no model
    assert "unfinished after 2 of 3 epochs" in page.text
    assert "No scores" in page.text
    config["scores"] = {"test": {"loss": "x", "accuracy": True}, "other": 3, "train": [1]}
    (run / "config.json").write_text(json.dumps(config))
    (run / "model.safetensors").write_bytes(b"no model")
    assert "not a complete safetensors file" in page_of(nnmpi, run, tmp_path / "page.html").text
    (run / "metrics.jsonl").write_bytes(b"{}\n[1]\n" + lines[0])
    assert "metrics.jsonl has 2 unreadable line(s)" in page_of(nnmpi, run, tmp_path / "page.html").text


def test_several_runs_are_one_table(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    runs = [train("--data", "iris", "--epochs", "3", "--hidden", hidden).directory for hidden in ("4", "8,8", "16")]
    nnmpi(
        "report", *map(str, [*runs, tmp_path / "<gone>"]), "--out", str(tmp_path / "all.html"), timeout=SECONDS
    ).succeeded()
    page = Page((tmp_path / "all.html").read_text())
    rows = page.table("run")
    assert len(rows) == 4
    accuracies = [float(row[1]) for row in rows if row[1]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {row[-1] for row in rows} == {"4", "8,8", "16", ""}
    assert "no such directory" in page.text
    assert "<gone>" not in page.text


def test_train_writes_the_report(nnmpi: CommandServer, tmp_path: Path) -> None:
    flags = ("--data", "iris", "--epochs", "2", "--output", str(tmp_path / "run"))
    done = nnmpi("train", *flags, "--report", timeout=SECONDS).succeeded()
    assert done.out.splitlines()[-1].startswith("test accuracy")
    assert "report written to" in done.err
    scores = Page((tmp_path / "run" / "report.html").read_text()).scores()
    assert done.out.splitlines()[-1] == f"test accuracy {scores['accuracy']}, test loss {scores['loss']}"


def test_a_failing_report_does_not_fail_the_training(nnmpi: CommandServer, tmp_path: Path) -> None:
    (tmp_path / "run" / "report.html" / "something").mkdir(parents=True)
    flags = ("--data", "iris", "--epochs", "1", "--output", str(tmp_path / "run"))
    done = nnmpi("train", *flags, "--report", timeout=SECONDS).succeeded()
    assert len([line for line in done.err.splitlines() if "no report was written" in line]) == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["finished"] is True


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_without_the_extra_one_line_names_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nnmpi.cli import main
    from nnmpi.report import write

    monkeypatch.setattr(write, "find_spec", lambda module: None if module == name else module)
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"nnmpi: a report needs {write.NEEDED[name]}: pip install 'nnmpi[report]'"
    ]


def test_where_the_page_cannot_go(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    done = nnmpi("report", str(train(*DIGITS).directory), "--out", str(tmp_path))
    assert done.status == 2
    assert len(done.messages) == 1
    assert "--out" in done.messages[0]
