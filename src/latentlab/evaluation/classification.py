"""How well a classifier does."""

import numpy as np


def classification_metrics(predicted: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """Accuracy and macro-averaged F1 of class indices [N]."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(actual, predicted)),
        "f1_macro": float(f1_score(actual, predicted, average="macro", zero_division=0)),
    }


def confusion_counts(predicted: np.ndarray, actual: np.ndarray, classes: int) -> np.ndarray:
    """Counts [actual, predicted]."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(actual, predicted, labels=range(classes))


def confusion_rows(
    predicted: np.ndarray, actual: np.ndarray, classes: list[str]
) -> list[dict[str, str]]:
    """One row per image with the names of both classes, for DVC's confusion template."""
    return [
        {"actual": classes[truth], "predicted": classes[guess]}
        for truth, guess in zip(actual, predicted, strict=True)
    ]
