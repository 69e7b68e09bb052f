"""evaluate: the classifier and the reference classifier, or what takes its place without labels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlab.common.progress import note
from latentlab.data.image_set import DatasetInfo, ImageSet, RotatedImages
from latentlab.evaluation.baselines import majority_accuracy
from latentlab.evaluation.classification import (
    calibration_error,
    class_metrics,
    classification_metrics,
    confusion_counts,
    confusion_rows,
)
from latentlab.evaluation.features import Features, extract_features
from latentlab.models.classifier import Classifier
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.reference import ReferenceClassifier
from latentlab.pipeline.context import StageContext
from latentlab.plots.classification import plot_confusion, plot_errors
from latentlab.plots.labels import class_labels

ERRORS_SHOWN = 24
CONFUSION = ("actual", "predicted")
"""Columns of the table that `dvc.yaml` draws as a confusion matrix."""


def evaluate_classification(
    stage: StageContext,
    classifier: Classifier | None,
    reference: ReferenceClassifier,
    features: Features,
    test: ImageSet,
    info: DatasetInfo,
    per_image: dict[str, Tensor],
) -> dict[str, Any]:
    """Return the metrics of both classifiers by name; add which images [N] they classify correctly.

    `features` are those of the test images. Without class labels there is no `classifier`, and the
    reference classifier predicts angles.
    """
    train_labels = stage.load_split("train").labels
    metrics: dict[str, Any] = {}
    if classifier is None:
        note(f"{stage.name}: no classification, because {info.name} has no class labels")
        stage.write_table("confusion.csv", [], CONFUSION)
    else:
        logits = apply_in_batches(classifier, in_batches(test))
        per_image["classifier/accuracy"] = logits.argmax(1) == test.labels
        baseline = {"majority_accuracy": majority_accuracy(train_labels, test.labels)}
        metrics["classifier"] = _evaluate_classifier(stage, logits, info, test) | baseline
    actual, predicted = _reference_predictions(reference, features, test, info)
    correct = torch.from_numpy(predicted == actual)
    if not info.labeled:  # the share of the angles of each image
        correct = correct.view(len(test), -1).double().mean(1)
    per_image["reference/accuracy"] = correct
    baseline = {"majority_accuracy": majority_accuracy(train_labels, torch.from_numpy(actual))}
    return metrics | {"reference": classification_metrics(actual, predicted) | baseline}


def _reference_predictions(
    reference: ReferenceClassifier, features: Features, test: ImageSet, info: DatasetInfo
) -> tuple[np.ndarray, np.ndarray]:
    """Return the actual and predicted classes [N] of test images, or angles without labels."""
    if info.labeled:
        return test.labels.numpy(), features.classes
    rotated = RotatedImages.of(test)
    return rotated.labels.numpy(), extract_features(reference, in_batches(rotated)).classes


def _evaluate_classifier(
    stage: StageContext, logits: Tensor, info: DatasetInfo, test: ImageSet
) -> dict[str, Any]:
    """Return the metrics of the classifier from its logits [N, K]; write its tables and plots."""
    actual, predicted = test.labels.numpy(), logits.argmax(1).numpy()
    stage.write_table("confusion.csv", confusion_rows(actual, predicted, info.classes))
    counts = confusion_counts(actual, predicted, len(info.classes))
    title = f"Confusion matrix, {info.name} test split"
    plot_confusion(stage.plots / "confusion.png", counts, info.classes, title)
    plot_confusion(
        stage.plots / "confusion_counts.png", counts, info.classes, title, as_shares=False
    )
    probabilities = logits.softmax(1)
    _plot_errors(stage, info, test, probabilities)
    return (
        classification_metrics(actual, predicted)
        | {"calibration_error": calibration_error(probabilities.numpy(), actual)}
        | class_metrics(actual, predicted, info.classes)
    )


def _plot_errors(
    stage: StageContext, info: DatasetInfo, test: ImageSet, probabilities: Tensor
) -> None:
    """Draw the misclassified images with the lowest probability of the actual class."""
    probability_of_actual = probabilities[torch.arange(len(test)), test.labels]
    predicted = probabilities.argmax(1)
    misclassified = (predicted != test.labels).nonzero()[:, 0]
    order = probability_of_actual[misclassified].argsort(stable=True)
    shown = misclassified[order][:ERRORS_SHOWN]
    labels = class_labels(info.classes)
    captions = [
        f"{labels[test.labels[index]]}\npredicted: {labels[predicted[index]]}" for index in shown
    ]
    title = (
        f"Most confident errors ({len(misclassified):,} of {len(test):,} test images misclassified)"
    )
    plot_errors(stage.plots / "errors.png", test.floats(shown), captions, 8, title)
