"""Metrics of classifiers."""

import numpy as np

from latentlab.evaluation.class_keys import class_keys

CALIBRATION_BINS = 15


def confusion_counts(actual: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the confusion matrix [actual, predicted] of class indices [N] and [N]."""
    from sklearn.metrics import confusion_matrix

    counts: np.ndarray = confusion_matrix(actual, predicted, labels=range(classes))
    return counts


def classification_metrics(actual: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return accuracy and macro-averaged F1 of class indices [N] and [N].

    The average is over the classes that occur among `actual` or `predicted`.
    """
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(actual, predicted)),
        "f1_macro": float(f1_score(actual, predicted, average="macro")),
    }


def class_metrics(
    actual: np.ndarray, predicted: np.ndarray, classes: list[str]
) -> dict[str, dict[str, float]]:
    """Return precision and recall of each class, by the key of the class.

    The precision of a class that is never predicted is 0, as is the recall of a class without
    images.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, _, _ = precision_recall_fscore_support(
        actual, predicted, labels=range(len(classes)), average=None, zero_division=0
    )
    keys = class_keys(classes)
    return {
        "precision": dict(zip(keys, precision.tolist(), strict=True)),
        "recall": dict(zip(keys, recall.tolist(), strict=True)),
    }


def calibration_error(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Return the expected calibration error of probabilities [N, K] (Guo et al. 2017).

    It is the mean of |confidence - accuracy| over 15 bins of equal width in confidence, weighted by
    the number of images in a bin. Hand-written, because scikit-learn has no calibration error.
    """
    confidences, correct, bins = _bins(probabilities, actual)
    gaps = np.bincount(bins, confidences - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(actual))


def calibration_bins(probabilities: np.ndarray, actual: np.ndarray) -> list[dict[str, float]]:
    """Return mean confidence, accuracy and number of images of each bin that is not empty.

    The bins are those of `calibration_error`.
    """
    confidences, correct, bins = _bins(probabilities, actual)
    return [
        {
            "confidence": float(confidences[bins == index].mean()),
            "accuracy": float(correct[bins == index].mean()),
            "count": int((bins == index).sum()),
        }
        for index in np.unique(bins)
    ]


def _bins(
    probabilities: np.ndarray, actual: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return confidence, correctness and number of the bin of each image [N]."""
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == actual
    bins = np.minimum((confidences * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return confidences, correct, bins


def confusion_rows(
    actual: np.ndarray, predicted: np.ndarray, classes: list[str]
) -> list[dict[str, str]]:
    """Return one row per image with the names of both classes, for DVC's confusion template."""
    return [
        {"actual": classes[true_index], "predicted": classes[predicted_index]}
        for true_index, predicted_index in zip(actual, predicted, strict=True)
    ]
