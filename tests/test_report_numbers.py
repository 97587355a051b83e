"""Intervals, areas, importance and times of a report against independent values."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

import nnmpi as package
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.world import World
from nnmpi.report.classification import calibration_error
from nnmpi.report.importance import features_of_columns, permutation_importance
from nnmpi.report.pictures import worst_mistakes
from nnmpi.report.predictions import predict_test_part
from nnmpi.report.rank_times import drawing, rank_times, read_timeline
from nnmpi.report.regression import error_quantiles
from nnmpi.report.results import scores_of_task
from nnmpi.report.score import bootstrap, wilson
from nnmpi.training.metrics.ranking import Ranking


@pytest.mark.parametrize(("correct", "count"), [(0, 5), (5, 5), (353, 360), (1, 2), (600, 1000)])
def test_wilson_s_interval(correct: int, count: int) -> None:
    expected = binomtest(correct, count).proportion_ci(0.95, "wilson")
    assert wilson(correct, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_areas_under_curves_with_weights_and_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    positive = random.random(200) < 0.3
    score = np.round(random.random(200) + 0.3 * positive, 1)  # many are equal
    weights = random.integers(0, 4, 200)
    ranking = Ranking(positive, score, np.ones(len(score)))
    assert ranking.roc_auc(weights) == pytest.approx(roc_auc_score(positive, score, sample_weight=weights), abs=1e-12)
    expected = average_precision_score(positive, score, sample_weight=weights)
    assert ranking.average_precision(weights) == pytest.approx(expected, abs=1e-12)
    _, recall, precision = ranking.curves()
    expected_precision, expected_recall, _ = precision_recall_curve(positive, score)
    np.testing.assert_allclose(precision, expected_precision[:-1][::-1])
    np.testing.assert_allclose(recall, expected_recall[:-1][::-1])


def test_one_class_alone_has_no_area() -> None:
    assert np.isnan(Ranking(np.zeros(3, bool), np.arange(3.0), np.ones(3)).roc_auc(np.ones(3)))


def test_a_bootstrap_interval_is_as_wide_as_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    statistics = {"mean": lambda w: float(w @ values / w.sum()), "none": lambda w: float("nan")}
    intervals = bootstrap(statistics, len(values))
    error = values.std() / 20
    assert intervals["mean"] == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.05)
    assert "none" not in intervals
    assert bootstrap(statistics, len(values)) == intervals


def test_units_of_a_target_make_no_difference(tmp_path: Path) -> None:
    """Also where the squares of its numbers leave float64."""
    X = np.random.default_rng(0).standard_normal((90, 3))
    y = np.column_stack([X[:, 0], X[:, 1] - X[:, 2]])
    pages = []
    for unit in (1.0, 2.0**-560, 2.0**660):
        directory = tmp_path / str(unit)
        np.savez(tmp_path / f"{unit}.npz", X=X, y=y * unit)
        package.train(str(tmp_path / f"{unit}.npz"), hidden=(4,), epochs=2, output=directory)
        predictions = predict_test_part(directory, World(Alone()))
        with np.errstate(all="raise", under="ignore"):
            scores, mistakes = scores_of_task(predictions), worst_mistakes(predictions)
        units = [1.0 if score.name in ("R²", "loss") else unit for score in scores]
        numbers = [(s.value / u, np.divide(s.interval or (), u).tolist()) for s, u in zip(scores, units, strict=True)]
        baselines = [None if s.baseline is None else s.baseline / u for s, u in zip(scores, units, strict=True)]
        pages.append((numbers, baselines, [mistake.row for mistake in mistakes]))
    assert pages[0] == pages[1] == pages[2]


def timeline(path: Path, events: list[dict[str, object]]) -> Path:
    path.write_text(json.dumps({"otherData": {"left_out": None}, "traceEvents": events}))
    return path


def test_time_counts_for_the_innermost_slice(tmp_path: Path) -> None:
    def event(name: str, category: str, start: float, length: float) -> dict[str, object]:
        return {"name": name, "cat": category, "ph": "X", "pid": 0, "tid": 0, "ts": start + 3e-4, "dur": length + 1e-4}

    events = [
        {"name": "process_name", "ph": "M", "pid": 0, "tid": 0, "args": {"name": "rank 0 on a"}},
        event("training", "phase", 0, 1000),
        event("step 1", "step", 100, 500),
        event("forward", "compute", 100, 200),
        event("reduce", "communication", 300, 300),
        event("waiting", "waiting", 300, 100),
        event("reduction", "communication", 400, 150),
        event("log", "I/O", 700, 50),
    ]
    tracks = read_timeline(timeline(tmp_path / "t.json", events))
    (rank,) = rank_times(tracks)
    microseconds = {name: round(1e6 * value) for name, value in rank.seconds.items()}
    assert microseconds == {"compute": 200, "reduction": 200, "waiting": 100, "I/O": 50, "rest": 450}
    assert rank.name == "rank 0 on a"
    drawn = drawing(tracks)
    slices = np.array(drawn["tracks"][0]["slices"]).reshape(-1, 4)
    assert drawn["names"] == ["training", "step", "forward", "reduce", "waiting", "reduction", "log"]
    assert slices[:, 1].tolist() == [0, 1, 2, 2, 3, 3, 1]
    assert np.cumsum(slices[:, 2]).tolist() == [0, 100_000, 100_000, 300_000, 300_000, 400_000, 700_000]
    assert slices[:, 3].tolist() == [1_000_000, 500_000, 200_000, 300_000, 100_000, 150_000, 50_000]


def test_long_timelines_keep_their_ends(tmp_path: Path) -> None:
    common = {"cat": "compute", "ph": "X", "pid": 0, "tid": 0, "dur": 1.0001}
    events = [{"name": "forward", "ts": 10 * i + 0.0003, **common} for i in range(50_000)]
    drawn = drawing(read_timeline(timeline(tmp_path / "t.json", events)))
    slices = np.array(drawn["tracks"][0]["slices"]).reshape(-1, 4)
    assert 39_000 <= len(slices) <= 40_001
    starts = np.cumsum(slices[:, 2])
    assert starts[0] == 0
    assert starts[-1] == 10_000 * 49_999
    assert np.diff(starts).max() > 10_000 * 9_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"otherData": {"left_out": 0}, "traceEvents": []}',
        '{"otherData": {"left_out": 0}, "traceEvents": [1]}',
        '{"otherData": {"left_out": 0}, "traceEvents": [{"ph": "X", "name": "a", "cat": "b", "pid": 0, "tid": 0, '
        '"ts": NaN, "dur": 1}]}',
        '{"otherData": {"left_out": 0}, "traceEvents": [{"ph": "X", "name": "a", "cat": "b", "pid": 0, "tid": 0, '
        '"ts": 1e300, "dur": 1}]}',
        '{"otherData": {"left_out": 0}, "traceEvents": [{"ph": "X", "name": "a", "cat": "b", "pid": "0", "tid": 0, '
        '"ts": 1, "dur": 1}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_timeline_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011 (the message depends on what the reader finds)
        read_timeline(tmp_path / "t.json")


def test_importance_is_of_whole_columns(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    random = np.random.default_rng(0)
    colour = random.choice(["red", "green", "blue"], 900)
    noise, size = random.normal(size=(2, 900))
    rows = enumerate(zip(noise, colour, size, strict=True))
    lines = [f"{n},{c},{'' if i % 9 == 0 else s},{c == 'red'}" for i, (n, c, s) in rows]
    (tmp_path / "t.csv").write_text("noise,colour,size,red\n" + "\n".join(lines))
    package.train(tmp_path / "t.csv", target="red", epochs=8, output=tmp_path / "run")
    world = World(Alone())
    predictions = predict_test_part(tmp_path / "run", world)
    assert features_of_columns(predictions.model) == {"noise": [1], "size": [2, 3], "colour": [4, 5, 6]}
    importance = permutation_importance(predictions, world)
    assert importance[0].column == "colour"
    rises = {i.column: i.rise for i in importance}
    assert rises["colour"] > 10 * max(abs(rises["noise"]), abs(rises["size"]))
    # the features are back in their order
    assert predictions.loss(predictions.part, world) == predictions.table["loss"]


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_whole_numbers_as_weights_are_repeated_samples(tmp_path: Path, task: str) -> None:
    """Scores, calibration and error quantiles agree. The number of samples of a class does not depend on weights."""
    random = np.random.default_rng(5)
    x = random.normal(size=(300, 4))
    targets = {
        "classification": (x[:, 0] + random.normal(size=300) > 0).astype(int),
        "multilabel": (x[:, :2] + random.normal(size=(300, 2)) > 0).astype(int),
        "regression": x[:, 0] + random.normal(size=300),
    }
    y, weights = targets[task], random.integers(1, 4, 300)
    test = slice(0, 100)
    predictions = {}
    for name, times in (("weighted", np.ones(100, int)), ("repeated", weights[test])):
        file = tmp_path / f"{name}.npz"
        sample_weight = weights[test] if name == "weighted" else np.ones(times.sum())
        np.savez(file, X=np.repeat(x[test], times, axis=0), y=np.repeat(y[test], times, axis=0), w=sample_weight)
        output = tmp_path / name
        np.savez(tmp_path / "data.npz", X=x[100:], y=y[100:], w=np.ones(200))
        settings = {"sample_weight": "w", "test_data": str(file), "task": task, "epochs": 3, "dtype": "float64"}
        package.train(str(tmp_path / "data.npz"), output=output, **settings)
        predictions[name] = predict_test_part(output, World(Alone()))
    weighted, repeated = predictions["weighted"], predictions["repeated"]
    for a, b in zip(scores_of_task(weighted), scores_of_task(repeated), strict=True):
        assert (a.name, a.value) == (b.name, pytest.approx(b.value, rel=1e-9))
        assert a.baseline == (None if b.baseline is None else pytest.approx(b.baseline, rel=1e-9))
    if task == "classification":
        assert calibration_error(weighted) == pytest.approx(calibration_error(repeated), rel=1e-9)
        assert weighted.samples_of_classes() == np.bincount(y[test]).tolist()
    elif task == "regression":
        largest = [max(e for _, e in error_quantiles(p)) for p in (weighted, repeated)]
        assert largest[0] == pytest.approx(largest[1], rel=1e-9)
        median = np.median(np.abs(repeated.predicted - repeated.y))
        assert dict(error_quantiles(weighted))["50 %"] == pytest.approx(median, rel=0.05)
    else:
        assert weighted.samples_of_classes() == y[test].sum(axis=0).tolist()
