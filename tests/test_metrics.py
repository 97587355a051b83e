"""Metrics equal those of scikit-learn, and are the same on any number of ranks."""

import json
import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ranks import on_ranks

from nnmpi.data.shards import held_shards, shard_rows
from nnmpi.training.metrics import METRICS, counts, of_classes, of_labels, score
from nnmpi.training.metrics.labels import LabelPredictions
from nnmpi.training.metrics.predictions import ClassPredictions, NumberPredictions, PartSamples

CLASSIFICATION = list(METRICS["classification"])
MULTILABEL = list(METRICS["multilabel"])
REGRESSION = list(METRICS["regression"])
SHARDS = 5
WEIGHTS = st.sampled_from([0.0, 0.25, 0.3, 1.0, 2.0, 1e3])


def rank_samples(world, count, weights):
    """Return the rows that a rank holds, and its `Samples`."""
    held = held_shards(SHARDS, world.size, world.rank)
    rows_of_shards = [shard_rows(np.arange(count), SHARDS, shard) for shard in held]
    rows = np.concatenate(rows_of_shards)
    return rows, PartSamples(world, [len(r) for r in rows_of_shards], None if weights is None else weights[rows])


def scores_on_ranks(size, names, make, count, weights=None):
    """Return the scores that each rank of a world computes, as JSON."""

    def work(world):
        rows, samples = rank_samples(world, count, weights)
        predictions = make(samples, rows)
        scores = {name: score(name, predictions) for name in names}
        if isinstance(predictions, ClassPredictions):
            scores["classes"] = of_classes(predictions)
            scores["matrix"] = counts.matrix(predictions.counts).tolist()
        if isinstance(predictions, LabelPredictions):
            scores["labels"] = of_labels(predictions)
        return json.dumps(scores, allow_nan=False)

    return on_ranks(size, work)


def below_one(p):
    """Return probabilities in float64, at most 1 minus the epsilon of their own type."""
    return np.minimum(p.astype(np.float64), 1 - np.finfo(p.dtype).eps)


class Classified:
    def __init__(self, true, outputs, weights=None, are_probabilities=True):
        self.true, self.outputs, self.weights = true, outputs, weights
        self.classes = max(2, outputs.shape[1])
        self.predicted = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(np.intp)
        self.are_probabilities = are_probabilities

    def make(self, samples, rows):
        arguments = self.true[rows], self.predicted[rows], self.outputs[rows], self.classes, self.are_probabilities
        return ClassPredictions(samples, *arguments)

    def scores(self, size=1):
        return scores_on_ranks(size, CLASSIFICATION, self.make, len(self.true), self.weights)

    def expected(self):
        """Return scikit-learn's values; None where it warns that a value is undefined."""
        y, p, w = self.true, self.predicted, self.weights
        probabilities = np.hstack([1 - self.outputs, self.outputs]) if self.outputs.shape[1] == 1 else self.outputs
        expected = {
            "accuracy": defined(reference.accuracy_score, y, p, sample_weight=w),
            "balanced_accuracy": defined(reference.balanced_accuracy_score, y, p, sample_weight=w),
            "largest_class_share": max(
                defined(reference.accuracy_score, y, np.full_like(y, code), sample_weight=w) or 0
                for code in range(self.classes)
            )
            if w is None or w.any()
            else None,
        }
        if self.are_probabilities:
            labels = range(self.classes)
            precise = probabilities.astype(np.float64)
            if self.outputs.shape[1] == 1:
                positive = below_one(self.outputs[:, 0])
                precise = np.stack([1 - positive, positive], axis=1)
            expected["log_loss"] = defined(reference.log_loss, y, precise, sample_weight=w, labels=labels)
        for name in ("precision", "recall", "f1"):
            function = getattr(reference, f"{name}_score")
            for average in ("macro", "weighted", "micro"):
                expected[f"{name}_{average}"] = defined(
                    function, y, p, sample_weight=w, average=average, zero_division=0
                )
        for name in ("roc_auc", "average_precision"):
            function = getattr(reference, f"{name}_score")
            codes = [1] if self.classes == 2 else range(self.classes)
            values = [defined(function, y == code, probabilities[:, code], sample_weight=w) for code in codes]
            values = [value for value in values if value is not None]
            expected[name] = np.mean(values) if values else None
        for k in (2, 5):
            if k < self.classes:
                labels = range(self.classes)
                function = reference.top_k_accuracy_score
                expected[f"top_{k}_accuracy"] = defined(function, y, probabilities, k=k, labels=labels, sample_weight=w)
        return expected


def defined(function, *arguments, **options):
    """Return the value of a function of scikit-learn, or None if scikit-learn calls it undefined."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            value = function(*arguments, **options)
        except (ZeroDivisionError, ValueError):  # all weights are zero
            return None
    undefined = any("No positive class" in str(w.message) for w in caught) or not math.isfinite(value)
    return None if undefined else value


def check(scores, expected):
    for name, value in scores.items():
        if name in expected:
            if expected[name] is None:
                assert value is None, name
            else:
                assert value is not None, name
                assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name


@st.composite
def classified(draw):
    """Predictions with ties, absent classes, a single class, weights and zero weights."""
    classes, count = draw(st.integers(1, 7)), draw(st.integers(1, 40))
    present = draw(st.lists(st.integers(0, max(classes, 2) - 1), min_size=1, unique=True))
    true = np.array(draw(st.lists(st.sampled_from(present), min_size=count, max_size=count)), np.intp)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    outputs = draw(arrays(np.float64, (count, classes), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, 9.0])))
    if classes == 1:
        outputs = outputs / 9
    else:
        outputs = (outputs + (outputs.sum(1, keepdims=True) == 0)) / (outputs + 1e-300).sum(1, keepdims=True)
        outputs = outputs / outputs.sum(1, keepdims=True)
    weights = draw(st.none() | arrays(np.float64, count, elements=WEIGHTS))
    if weights is not None and not weights.any():
        weights[draw(st.integers(0, count - 1))] = 1
    return Classified(true, outputs.astype(dtype), weights)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(classified())
def test_metrics_of_classes_are_those_of_scikit_learn(case):
    check(json.loads(case.scores()[0]), case.expected())


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(classified())
def test_metrics_of_classes_have_the_same_bits_on_any_number_of_ranks(case):
    assert len({text for size in (1, 2, 3) for text in case.scores(size)}) == 1


@settings(max_examples=40, deadline=None)
@given(classified())
def test_metrics_of_each_class_are_those_of_scikit_learn(case):
    scores = json.loads(case.scores()[0])
    labels = list(range(case.classes))
    w = case.weights
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        case.true, case.predicted, labels=labels, sample_weight=w, zero_division=np.nan
    )
    for code, row in enumerate(scores["classes"]):
        values = zip(("precision", "recall", "f1", "samples"), (precision, recall, f1, support), strict=True)
        for name, by_class in values:
            expected = by_class[code]
            assert row[name] == (None if np.isnan(expected) else pytest.approx(expected, rel=1e-12)), name
    matrix = reference.confusion_matrix(case.true, case.predicted, labels=labels, sample_weight=w)
    assert np.allclose(scores["matrix"], matrix, rtol=1e-12, atol=0)


class Labelled:
    def __init__(self, true, outputs, weights=None):
        self.true, self.outputs, self.weights = true, outputs, weights
        self.predicted = outputs > 0.5

    def make(self, samples, rows):
        return LabelPredictions(samples, self.true[rows], self.predicted[rows], self.outputs[rows])

    def scores(self, size=1):
        return scores_on_ranks(size, MULTILABEL, self.make, len(self.true), self.weights)

    def expected(self):
        y, p, options = self.true, self.predicted, {"sample_weight": self.weights}
        expected = {
            "accuracy": defined(reference.accuracy_score, y, p, **options),
            "hamming_loss": defined(reference.hamming_loss, y, p, **options),
        }
        pairs = zip(y.T, below_one(self.outputs).T, strict=True)
        expected["log_loss"] = sum(reference.log_loss(t, q, labels=[0, 1], **options) for t, q in pairs)
        for name in ("precision", "recall", "f1"):
            function = getattr(reference, f"{name}_score")
            for average in ("macro", "weighted", "micro"):
                expected[f"{name}_{average}"] = defined(function, y, p, average=average, zero_division=0, **options)
        for name in ("roc_auc", "average_precision"):
            values = [value for value in self.ranked(name) if value is not None]
            expected[name] = np.mean(values) if values else None
        return expected

    def ranked(self, name):
        """Return a metric of each label; None where it is undefined."""
        function = getattr(reference, f"{name}_score")
        pairs = zip(self.true.T, self.outputs.T, strict=True)
        return [defined(function, y, p, sample_weight=self.weights) for y, p in pairs]


@st.composite
def labelled(draw):
    """Predictions of labels with ties, labels that all samples have or none has, weights and zero weights."""
    shape = draw(st.integers(1, 40)), draw(st.integers(2, 5))
    true = draw(arrays(np.bool_, shape))
    for label in range(shape[1]):
        constant = draw(st.sampled_from([None, None, False, True]))
        if constant is not None:
            true[:, label] = constant
    outputs = draw(arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.125, 0.5, 0.625, 1.0])))
    if draw(st.booleans()):
        outputs[:, 0] = 0.25  # never predicted
    weights = draw(st.none() | arrays(np.float64, shape[0], elements=WEIGHTS))
    if weights is not None and not weights.any():
        weights[draw(st.integers(0, shape[0] - 1))] = 1
    return Labelled(true, outputs.astype(draw(st.sampled_from([np.float32, np.float64]))), weights)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(labelled())
def test_metrics_of_labels_are_those_of_scikit_learn(case):
    scores, expected = json.loads(case.scores()[0]), case.expected()
    assert set(expected) == set(MULTILABEL)
    check(scores, expected)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(labelled())
def test_metrics_of_each_label_are_those_of_scikit_learn(case):
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        case.true, case.predicted, sample_weight=case.weights, zero_division=np.nan
    )
    expected = {"precision": precision, "recall": recall, "f1": f1, "samples": support}
    expected |= {name: np.array(case.ranked(name), float) for name in ("roc_auc", "average_precision")}
    for label, row in enumerate(json.loads(case.scores()[0])["labels"]):
        for name, values in expected.items():
            value = values[label]
            assert row[name] == (None if np.isnan(value) else pytest.approx(value, rel=1e-9, abs=1e-12)), name


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(labelled())
def test_metrics_of_labels_have_the_same_bits_on_any_number_of_ranks(case):
    assert len({text for size in (1, 2, 3) for text in case.scores(size)}) == 1


class Regressed:
    def __init__(self, true, predicted, weights=None):
        self.true, self.predicted, self.weights = true, predicted, weights

    def make(self, samples, rows):
        return NumberPredictions(samples, self.true[rows], self.predicted[rows])

    def scores(self, size=1):
        return scores_on_ranks(size, REGRESSION, self.make, len(self.true), self.weights)

    def expected(self):
        arguments, options = (self.true, self.predicted), {"sample_weight": self.weights}
        counted = slice(None) if self.weights is None else self.weights > 0
        r2 = []
        for y, predicted in zip(self.true.T, self.predicted.T, strict=True):
            if len(np.unique(y[counted])) == 1 and len(y) > 1:  # rounding may give scikit-learn -1e36 here
                r2.append(float(np.array_equal(y[counted], predicted[counted])))
            else:
                r2.append(defined(reference.r2_score, y, predicted, **options))
        return {
            "mae": defined(reference.mean_absolute_error, *arguments, **options),
            "rmse": defined(reference.root_mean_squared_error, *arguments, **options),
            "median_absolute_error": defined(reference.median_absolute_error, *arguments, **options),
            "r2": None if None in r2 else np.mean(r2),
        }


@st.composite
def regressed(draw):
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 3))
    numbers = arrays(np.float64, shape, elements=st.sampled_from([-3.5, 0.0, 0.1, 1.0, 2.5, 1e4]))
    true, predicted = draw(numbers), draw(numbers)
    if draw(st.booleans()):
        true[:, 0] = draw(st.sampled_from([0.0, 0.5, -7.25]))  # a constant target
    if draw(st.booleans()):
        predicted = true.copy()
    weights = draw(st.none() | arrays(np.float64, shape[0], elements=WEIGHTS))
    if weights is not None and not weights.any():
        weights[0] = 1
    return Regressed(true, predicted, weights)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(regressed())
def test_metrics_of_numbers_are_those_of_scikit_learn(case):
    check(json.loads(case.scores()[0]), case.expected())


@settings(max_examples=20, deadline=None)
@given(regressed())
def test_metrics_of_numbers_have_the_same_bits_on_any_number_of_ranks(case):
    assert len({text for size in (1, 2, 3) for text in case.scores(size)}) == 1


@pytest.mark.parametrize("outputs", [[[1e-12, 1.0], [0.25, 0.75]], [[1.0], [0.75]]], ids=["softmax", "sigmoid"])
def test_a_sure_mistake_in_float32_keeps_its_loss(outputs):
    """The loss uses the probability 1e-12 itself. A sigmoid gives only the other one, rounded to 1: epsilon is used."""
    case = Classified(np.array([0, 1]), np.array(outputs, np.float32))
    least = 1e-12 if len(outputs[0]) > 1 else np.finfo(np.float32).eps
    (text,) = case.scores()
    assert json.loads(text)["log_loss"] == pytest.approx(-(np.log(least) + np.log(0.75)) / 2, rel=1e-6)
