"""Outputs shared by the stages that train a classifier, `reference` and `finetune`."""

from typing import Any

from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.baselines import majority_accuracy
from latentlab.evaluation.classification import classification_metrics, confusion_counts
from latentlab.models.classification import ImageClassifier
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import save_model
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.pictures import write_latent_map
from latentlab.pipeline.review import Review, review_classifier
from latentlab.plots.classification import plot_confusion
from latentlab.plots.curves import plot_history
from latentlab.training.loop import Training
from latentlab.training.pruning import sparsity


def write_classifier(
    stage: StageContext,
    model: ImageClassifier,
    training: Training[Any],
    validation: ImageSet,
    info: DatasetInfo,
    title: str,
) -> tuple[dict[str, Any], Review]:
    """Write a trained classifier, its learning curves, latent map and confusion matrix.

    Logs the model to MLflow. Returns its metrics on the validation split, and its review.
    """
    save_model(model, stage.output / "model")
    for term, ylabel in (("loss", "cross-entropy (nats)"), ("accuracy", "accuracy")):
        plot_history(
            stage.plots / f"{term}.png",
            training.history,
            {f"train/{term}": "training", f"validation/{term}": "validation"},
            ylabel,
            f"{title} on {info.name}",
            training.best_epoch,
        )
    write_latent_map(stage, model, validation, info, f"{title} on {info.name}")
    logits = apply_in_batches(model, in_batches(validation))
    actual, predicted = validation.labels.numpy(), logits.argmax(1).numpy()
    plot_confusion(
        stage.plots / "confusion.png",
        confusion_counts(actual, predicted, len(info.classes)),
        info.classes,
        f"Confusion matrix, {info.name} validation split",
    )
    stage.log_model(model, validation.floats(slice(2)), info, training.best_epoch)
    train_labels = stage.load_split("train").labels
    scores = classification_metrics(actual, predicted) | {
        "majority_accuracy": majority_accuracy(train_labels, validation.labels)
    }
    review = review_classifier(stage.name, training.history, training.settings, scores, predicted)
    metrics = {
        "validation": scores,
        "epochs": len(training.history),
        "best_epoch": training.best_epoch,
        "sparsity": sparsity(model),
    }
    return metrics, review
