"""train: the convolutional autoencoder, with what the search found."""

import torch

from latentlab.architecture import Architecture
from latentlab.data.image_set import DatasetInfo
from latentlab.errors import TrainingDiverged
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.found import resolved_params
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.store import save_model
from latentlab.params import TrainParams
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_rows
from latentlab.stages.follow import checkpoint_of, follow
from latentlab.stages.jobs import follow_jobs, job_of
from latentlab.stages.stage import Stage, count_parameters
from latentlab.training.folds import stratified_folds
from latentlab.training.loop import Training
from latentlab.training.pruning import sparsity

SHOWN = 12


def run(stage: Stage) -> None:
    """Write the model, its learning curve and reconstructions of validation images."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = resolved_params(stage.project, stage.params).train
    stage.run.log_params({"train": settings.tree()})

    model = Autoencoder(Architecture.of(settings.model, info))
    training = Training(
        model, settings, train, validation, stage.seed, stage.device, checkpoint_of(stage)
    )
    follow(stage, training)
    model = training.restore_best().cpu()

    save_model(model, stage.output / "model")
    plot_history(
        stage.plots / "loss.png",
        training.history,
        {"train/mse": "training", "validation/mse": "validation"},
        "mean squared error per pixel",
        f"autoencoder on {info.name}",
        training.best_epoch,
    )
    shown = validation.floats(slice(SHOWN))
    with torch.inference_mode():
        outputs = model(shown)
    plot_rows(
        stage.plots / "reconstructions.png",
        {"original": shown, "reconstructed": outputs},
        f"validation images through {settings.model.latent_dim} dimensions",
    )
    stage.run.log_model(stage.output / "model", shown, outputs)
    metrics = {
        "validation": reconstruction_metrics(model, validation),
        "epochs": len(training.history),
        "best_epoch": training.best_epoch,
        "parameters": count_parameters(model),
        "sparsity": sparsity(model),
    }
    if settings.folds is not None:
        metrics["folds"] = _cross_validate(stage, settings, settings.folds, info)
    stage.write_metrics(metrics)


def _cross_validate(
    stage: Stage, settings: TrainParams, folds: int, info: DatasetInfo
) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of the MSE on each part of the training split, held out."""
    labels = stage.load_split("train").labels
    jobs = [
        job_of(
            stage,
            f"fold {number}",
            f"fold-{number}",
            settings,
            Architecture.of(settings.model, info),
            train_indices=kept,
            held_out=held_out,
        )
        for number, (kept, held_out) in enumerate(
            stratified_folds(labels, folds, stage.seed), start=1
        )
    ]
    outcomes = follow_jobs(stage, jobs)
    for outcome in outcomes:
        if outcome.fault is not None:
            raise TrainingDiverged(f"{outcome.name}: {outcome.fault}")
    losses = torch.tensor([outcome.best_loss for outcome in outcomes])
    return {"mse": {"mean": float(losses.mean()), "std": float(losses.std())}}
