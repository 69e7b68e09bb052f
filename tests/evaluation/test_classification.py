import numpy as np
import pytest

from latentlab.evaluation.classification import (
    as_key,
    calibration_error,
    class_metrics,
    classification_metrics,
    confusion_counts,
    confusion_rows,
)

ACTUAL = np.array([0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 1, 1, 1, 2, 0])


def test_accuracy_and_macro_f1_equal_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score

    random = np.random.default_rng(0)
    actual, predicted = random.integers(0, 7, 500), random.integers(0, 9, 500)
    metrics = classification_metrics(confusion_counts(predicted, actual, 12))

    assert metrics["accuracy"] == pytest.approx(accuracy_score(actual, predicted))
    expected = f1_score(actual, predicted, average="macro", zero_division=0)
    assert metrics["f1_macro"] == pytest.approx(expected)


def test_rows_of_the_confusion_are_the_actual_classes():
    counts = confusion_counts(PREDICTED, ACTUAL, 4)

    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_the_confusion_table_names_both_classes():
    rows = confusion_rows(PREDICTED, ACTUAL, ["bag", "coat", "shirt"])

    assert rows[1] == {"actual": "bag", "predicted": "coat"}
    assert len(rows) == 6


def test_precision_and_recall_of_each_class_equal_those_of_scikit_learn():
    from sklearn.metrics import precision_score, recall_score

    random = np.random.default_rng(0)
    actual, predicted = random.integers(0, 4, 200), random.integers(0, 5, 200)
    classes = ["T-shirt/top", "bag", "coat", "shirt", "sandal", "hat"]
    metrics = class_metrics(confusion_counts(predicted, actual, 6), classes)

    assert list(metrics["precision"]) == ["T-shirt-top", *classes[1:]]
    for term, reference in (("precision", precision_score), ("recall", recall_score)):
        expected = reference(actual, predicted, labels=range(6), average=None, zero_division=0)
        assert list(metrics[term].values()) == pytest.approx(list(expected))


def test_names_of_classes_become_names_of_metrics():
    assert as_key("T-shirt/top (new)") == "T-shirt-top -new-"
    assert as_key("été 2.0_b") == "été 2.0_b"


def test_who_is_as_right_as_sure_is_calibrated():
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, 40_000)
    probabilities = np.stack([sure, 1 - sure], 1)

    actual = (random.random(len(sure)) > sure).astype(int)
    assert calibration_error(probabilities, actual) < 0.01
    assert calibration_error(probabilities, actual * 0) == pytest.approx(0.25, abs=0.01)


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    probabilities = np.array([[0.99, 0.01], [0.97, 0.03], [0.4, 0.6], [0.0, 1.0]])
    actual = np.array([0, 1, 1, 1])

    # the bins from 14/15 (three of them) and from 9/15 (one)
    gaps = abs((0.99 + 0.97 + 1.0) - 2) + abs(0.6 - 1)
    assert calibration_error(probabilities, actual) == pytest.approx(gaps / 4)
