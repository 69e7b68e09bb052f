import numpy as np
import pytest

from latentlab.evaluation.classification import (
    calibration_error,
    class_metrics,
    classification_metrics,
    confusion_counts,
    confusion_rows,
)

ACTUAL = np.array([0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 1, 1, 1, 2, 0])


def test_rows_of_the_confusion_matrix_are_the_actual_classes():
    counts = confusion_counts(ACTUAL, PREDICTED, 4)

    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_the_confusion_table_names_both_classes():
    rows = confusion_rows(ACTUAL, PREDICTED, ["bag", "coat", "shirt"])

    assert rows[1] == {"actual": "bag", "predicted": "coat"}
    assert len(rows) == 6


def test_macro_f1_is_the_mean_over_the_classes_that_occur():
    """F1 of a class is 2 hits / (actual + predicted); class 3 is predicted but has no images."""
    predicted = np.array([0, 1, 1, 1, 2, 3])

    metrics = classification_metrics(ACTUAL, predicted)

    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 4 / 5 + 2 / 3 + 0) / 4)
    assert classification_metrics(ACTUAL, ACTUAL + 4) == {"accuracy": 0, "f1_macro": 0}


def test_precision_and_recall_of_each_class_are_zero_where_they_are_undefined():
    classes = ["T-shirt/top", "coat", "shirt", "bag"]  # class 3 does not occur at all

    metrics = class_metrics(ACTUAL, np.array([0, 1, 1, 1, 1, 0]), classes)

    assert metrics["precision"] == {"T-shirt-top": 1 / 2, "coat": 2 / 4, "shirt": 0, "bag": 0}
    assert metrics["recall"] == {"T-shirt-top": 1 / 2, "coat": 1, "shirt": 0, "bag": 0}


def test_the_calibration_error_is_zero_if_the_accuracy_equals_the_confidence():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 40_000)
    probabilities = np.stack([confidence, 1 - confidence], 1)

    actual = (random.random(len(confidence)) > confidence).astype(int)
    assert calibration_error(probabilities, actual) < 0.01
    assert calibration_error(probabilities, actual * 0) == pytest.approx(0.25, abs=0.01)


def test_the_calibration_error_is_the_mean_gap_over_bins_of_confidence():
    probabilities = np.array([[0.99, 0.01], [0.97, 0.03], [0.4, 0.6], [0.0, 1.0]])
    actual = np.array([0, 1, 1, 1])

    # three images are in the bin from 14/15, one in the bin from 9/15
    gaps = abs((0.99 + 0.97 + 1.0) - 2) + abs(0.6 - 1)
    assert calibration_error(probabilities, actual) == pytest.approx(gaps / 4)
