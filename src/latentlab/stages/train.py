"""train: the convolutional autoencoder, with what the search found."""

from contextlib import suppress
from functools import partial

import torch

from latentlab.common.errors import TrainingDiverged
from latentlab.data.image_set import DatasetInfo, load_info
from latentlab.data.splits import check_folds, stratified_folds
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.cost import count_parameters
from latentlab.models.io import save_model
from latentlab.params.geometry import Architecture
from latentlab.params.resolve import resolved_params
from latentlab.params.schema import TrainParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.jobs import job_of, mean_and_deviation, run_and_log_all
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_rows
from latentlab.training.distributed import ProcessGroup
from latentlab.training.loop import Training
from latentlab.training.pruning import sparsity

SHOWN = 12


def run(stage: StageContext) -> None:
    """Write the model, its learning curve and reconstructions of validation images."""
    info, validation = stage.load_info(), stage.load_split("validation")
    training = _prepare_training(stage)
    settings = training.settings
    stage.run.log_params({"train": settings.tree()})
    stage.run.set_tags({"processes": training.group.world_size})
    if settings.folds is not None:  # before hours of work
        check_folds(stage.load_split("train").labels, settings.folds)
    with training.group.running():
        run_and_log(stage, training)
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
    shown = validation.sample(SHOWN, stage.seed).floats(slice(SHOWN))
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


def run_worker_rank(stage: StageContext) -> None:
    """Train with the process that runs the stage, and leave the rest to it."""
    training = _prepare_training(stage)
    training.resume()
    with training.group.running(), suppress(TrainingDiverged):  # the other says so
        for _ in training.epochs():
            pass


def _prepare_training(stage: StageContext) -> Training:
    """The training of `train`, together with the other processes that `torchrun` started."""
    info = load_info(stage.project.outputs("fetch"))
    settings = resolved_params(stage.project, stage.params).train
    model = Autoencoder(Architecture.of(settings.model, info))
    group = ProcessGroup.init(stage.device)
    if not group.is_main:
        torch.manual_seed(stage.seed + group.rank)  # other images need other dropout
    return Training(
        model,
        settings,
        stage.load_split("train"),
        stage.load_split("validation"),
        stage.seed,
        stage.device,
        checkpoint_of(stage),
        group,
    )


def _cross_validate(
    stage: StageContext, settings: TrainParams, folds: int, info: DatasetInfo
) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of the MSE on each part of the training split, held out."""
    labels = stage.load_split("train").labels
    jobs = [
        job_of(
            stage,
            f"fold {number}",
            f"fold-{number}",
            settings,
            partial(Autoencoder, Architecture.of(settings.model, info)),
            train_indices=kept,
            held_out=held_out,
        )
        for number, (kept, held_out) in enumerate(
            stratified_folds(labels, folds, stage.seed), start=1
        )
    ]
    errors = [outcome.best["validation/mse"] for outcome in run_and_log_all(stage, jobs)]
    return {"mse": mean_and_deviation(errors)}
