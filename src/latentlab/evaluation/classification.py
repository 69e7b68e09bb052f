"""How well a classifier does."""

import numpy as np


def classification_metrics(counts: np.ndarray) -> dict[str, float]:
    """Accuracy and macro-averaged F1 from counts [actual, predicted].

    F1 of a class is 2 hits / (actual + predicted); of one that is neither it is 0 and not counted.
    """
    hits, occurrences = counts.diagonal(), counts.sum(0) + counts.sum(1)
    present = occurrences > 0
    return {
        "accuracy": float(hits.sum() / counts.sum()),
        "f1_macro": float((2 * hits[present] / occurrences[present]).mean()),
    }


def confusion_counts(predicted: np.ndarray, actual: np.ndarray, classes: int) -> np.ndarray:
    """Counts [actual, predicted] of class indices [N]."""
    return np.bincount(actual * classes + predicted, minlength=classes**2).reshape(classes, classes)


def confusion_rows(
    predicted: np.ndarray, actual: np.ndarray, classes: list[str]
) -> list[dict[str, str]]:
    """One row per image with the names of both classes, for DVC's confusion template."""
    return [
        {"actual": classes[truth], "predicted": classes[guess]}
        for truth, guess in zip(actual, predicted, strict=True)
    ]
