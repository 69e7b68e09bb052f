import numpy as np
import pytest

from latentlab.evaluation.classification import (
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
