"""train: the convolutional autoencoder, with the result of `search`."""

from contextlib import suppress
from functools import partial
from typing import Any

import torch

from latentlab.common.errors import TrainingDiverged
from latentlab.data.image_set import DatasetInfo, load_info
from latentlab.data.splits import check_folds, stratified_folds
from latentlab.evaluation.baselines import reconstruction_baselines
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.cost import count_parameters
from latentlab.models.io import save_model
from latentlab.params.geometry import Architecture
from latentlab.params.resolve import resolved_params
from latentlab.params.schema import TrainParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.jobs import job_of, mean_and_deviation, run_and_log_all
from latentlab.pipeline.pictures import Probe, write_latent_map
from latentlab.pipeline.review import review_autoencoder
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_rows
from latentlab.training.distributed import ProcessGroup
from latentlab.training.loop import Training
from latentlab.training.pruning import sparsity

SHOWN = 12


def run(stage: StageContext) -> None:
    """Write the model, its learning curve and reconstructions of validation images.

    With `train.folds`, also cross-validate the same settings on the training split.
    """
    info, validation = stage.load_info(), stage.load_split("validation")
    settings = resolved_params(stage.project, stage.params).train
    training = _prepare_training(stage, settings, info)
    channels = "-".join(map(str, settings.model.channels))
    stage.name_run(f"latent {settings.model.latent_dim}, {channels}")
    stage.run.log_params({"train": settings.tree()})
    stage.run.set_tags({"processes": training.group.world_size})
    if settings.folds is not None:  # fail before a long training
        check_folds(stage.load_split("train").labels, settings.folds)
    with training.group.running():
        run_and_log(stage, training, Probe.of(validation, stage.seed).reconstructions)
    model = training.restore_best().cpu()

    save_model(model, stage.output / "model")
    plot_history(
        stage.plots / "loss.png",
        training.history,
        {"train/mse": "training", "validation/mse": "validation"},
        "mean squared error per pixel",
        f"Autoencoder on {info.name}",
        training.best_epoch,
    )
    write_latent_map(stage, model, validation, info, f"Autoencoder on {info.name}")
    shown = validation.sample(SHOWN, stage.seed).floats(slice(SHOWN))
    with torch.inference_mode():
        outputs = model(shown)
    plot_rows(
        stage.plots / "reconstructions.png",
        {"original": shown, "reconstructed": outputs},
        f"Validation images reconstructed from {settings.model.latent_dim} latent dimensions",
    )
    stage.log_model(model, shown, info, training.best_epoch)
    baselines = reconstruction_baselines(
        stage.load_split("train"), settings.model.latent_dim, validation, stage.seed
    )
    metrics: dict[str, Any] = {
        "validation": reconstruction_metrics(model, validation) | baselines,
        "epochs": len(training.history),
        "best_epoch": training.best_epoch,
        "parameters": count_parameters(model),
        "sparsity": sparsity(model),
    }
    if settings.folds is not None:
        metrics["folds"] = _cross_validate(stage, settings, settings.folds, info)
    review = review_autoencoder(training.history, settings, metrics["validation"])
    stage.write_metrics(metrics, review)


def run_worker_rank(stage: StageContext) -> None:
    """Train together with the main rank, which also writes and logs the results."""
    info = load_info(stage.project.outputs("fetch"))
    settings = resolved_params(stage.project, stage.params).train
    training = _prepare_training(stage, settings, info)
    training.resume()
    with training.group.running(), suppress(TrainingDiverged):  # the main rank reports it
        for _ in training.epochs():
            pass


def _prepare_training(
    stage: StageContext, settings: TrainParams, info: DatasetInfo
) -> Training[Autoencoder]:
    """Return the training, which is shared with the other processes that `torchrun` started."""
    model = Autoencoder(Architecture.of(settings.model, info))
    group = ProcessGroup.init(stage.device)
    if not group.is_main:
        torch.manual_seed(stage.seed + group.rank)  # each rank needs its own dropout
    return Training(
        model,
        settings,
        stage.load_split("train"),
        stage.load_split("validation"),
        stage.seed,
        stage.device,
        checkpoint_of(stage, group),
        group,
    )


def _cross_validate(
    stage: StageContext, settings: TrainParams, folds: int, info: DatasetInfo
) -> dict[str, dict[str, float]]:
    """Return the mean and standard deviation of the validation MSE over the folds."""
    labels = stage.load_split("train").labels
    jobs = [
        job_of(
            stage,
            f"fold {number}",
            f"fold-{number}",
            settings,
            partial(Autoencoder, Architecture.of(settings.model, info)),
            params={"train": settings.tree(), "fold": number},
            train_indices=train_indices,
            held_out=held_out,
        )
        for number, (train_indices, held_out) in enumerate(
            stratified_folds(labels, folds, stage.seed), start=1
        )
    ]
    errors = [outcome.best["validation/mse"] for outcome in run_and_log_all(stage, "fold", jobs)]
    return {"mse": mean_and_deviation(errors)}
