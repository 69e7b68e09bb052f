"""How well a classifier does."""

import re

import numpy as np

BINS = 15


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


def as_key(name: str) -> str:
    """The name of a class as part of the name of a metric, in which few signs are allowed."""
    return re.sub(r"[^\w.\- ]", "-", name)


def class_metrics(counts: np.ndarray, classes: list[str]) -> dict[str, dict[str, float]]:
    """Precision and recall of each class from counts [actual, predicted].

    0 where nothing is, or is taken for, that class.
    """
    hits = counts.diagonal()
    shares = {
        "precision": hits / np.maximum(counts.sum(0), 1),
        "recall": hits / np.maximum(counts.sum(1), 1),
    }
    return {
        term: {as_key(name): float(value) for name, value in zip(classes, values, strict=True)}
        for term, values in shares.items()
    }


def calibration_error(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Expected calibration error of probabilities [N, classes] in 15 bins (Guo et al. 2017).

    The mean distance of confidence and accuracy, over bins of confidence.
    """
    confidences, hits = probabilities.max(1), probabilities.argmax(1) == actual
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidences - hits, minlength=BINS)
    return float(np.abs(gaps).sum() / len(actual))


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
