"""finetune: a classifier on the trained encoder."""

from latentlab.evaluation.classification import classification_metrics, confusion_counts
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.store import load_model, save_model
from latentlab.plots.classification import plot_confusion
from latentlab.plots.curves import plot_history
from latentlab.stages.follow import checkpoint_of, follow
from latentlab.stages.stage import Stage, count_parameters
from latentlab.training.loop import Training


def run(stage: Stage) -> None:
    """Write the classifier, its learning curves and its confusion on validation images."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = stage.params.finetune
    stage.run.log_params({"finetune": settings.tree()})

    donor = load_model(Autoencoder, stage.project.outputs("train") / "model")
    model = Classifier.from_autoencoder(
        donor, settings.head, len(info.classes), settings.freeze_encoder
    )
    training = Training(
        model, settings, train, validation, stage.seed, stage.device, checkpoint_of(stage)
    )
    follow(stage, training)
    model = training.restore_best().cpu()

    save_model(model, stage.output / "model")
    kind = "frozen" if settings.freeze_encoder else "fine-tuned"
    for term, ylabel in (("loss", "cross-entropy (nats)"), ("accuracy", "accuracy")):
        plot_history(
            stage.plots / f"{term}.png",
            training.history,
            {f"train/{term}": "training", f"validation/{term}": "validation"},
            ylabel,
            f"classifier on the {kind} encoder, {info.name}",
            training.best_epoch,
        )
    logits = apply_in_batches(model, in_batches(validation))
    predicted, actual = logits.argmax(1).numpy(), validation.labels.numpy()
    counts = confusion_counts(predicted, actual, len(info.classes))
    plot_confusion(
        stage.plots / "confusion.png",
        counts,
        info.classes,
        f"{info.name}, validation split",
    )
    stage.run.log_model(stage.output / "model", validation.floats(slice(1)), logits[:1])
    stage.write_metrics(
        {
            "validation": classification_metrics(counts),
            "epochs": len(training.history),
            "best_epoch": training.best_epoch,
            "trained_parameters": count_parameters(model, trained_only=True),
        }
    )
