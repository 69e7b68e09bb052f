"""What stages that train a classifier write of it."""

from typing import Any

from torch import nn

from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.classification import classification_metrics, confusion_counts
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import save_model
from latentlab.pipeline.context import StageContext
from latentlab.plots.classification import plot_confusion
from latentlab.plots.curves import plot_history
from latentlab.training.loop import Training
from latentlab.training.pruning import sparsity


def write_classifier(
    stage: StageContext,
    model: nn.Module,
    training: Training,
    validation: ImageSet,
    info: DatasetInfo,
    called: str,
) -> dict[str, Any]:
    """Write the model, its learning curves and its confusion of validation images; its figures."""
    save_model(model, stage.output / "model")
    for term, ylabel in (("loss", "cross-entropy (nats)"), ("accuracy", "accuracy")):
        plot_history(
            stage.plots / f"{term}.png",
            training.history,
            {f"train/{term}": "training", f"validation/{term}": "validation"},
            ylabel,
            f"{called}, {info.name}",
            training.best_epoch,
        )
    logits = apply_in_batches(model, in_batches(validation))
    predicted, actual = logits.argmax(1).numpy(), validation.labels.numpy()
    counts = confusion_counts(predicted, actual, len(info.classes))
    title = f"{info.name}, validation split"
    plot_confusion(stage.plots / "confusion.png", counts, info.classes, title)
    stage.run.log_model(stage.output / "model", validation.floats(slice(1)), logits[:1])
    return {
        "validation": classification_metrics(counts),
        "epochs": len(training.history),
        "best_epoch": training.best_epoch,
        "sparsity": sparsity(model),
    }
