"""vae: the variational autoencoder."""

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.bounds import bound_metrics
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.cost import count_parameters
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import save_model
from latentlab.models.vae import KlSchedule, Vae
from latentlab.params.geometry import Architecture
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_grid, plot_latent_grid, plot_rows
from latentlab.plots.maps import plot_latent_map
from latentlab.training.loop import Record, Training
from latentlab.training.pruning import sparsity

SHOWN = 12
SAMPLES = 64
MAP_IMAGES = 2000
GRID_SIZE = 20


def run(stage: StageContext) -> None:
    """Write the model, its learning curves, reconstructions and samples from the prior."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = stage.params.vae
    stage.name_run(f"latent {settings.model.latent_dim}, beta {settings.beta:g}")
    stage.run.log_params({"vae": settings.tree()})

    kl_schedule = KlSchedule(settings.beta, settings.warmup_epochs, settings.free_bits)
    architecture = Architecture.of(settings.model, info)
    model = Vae(architecture, settings.likelihood, settings.scale, kl_schedule)
    training = Training(
        model, settings, train, validation, stage.seed, stage.device, checkpoint_of(stage)
    )
    run_and_log(stage, training)
    model = training.restore_best().cpu()

    save_model(model, stage.output / "model")
    _plot_curves(stage, training.history, training.best_epoch, info.name)
    _plot_latent_space(stage, model, validation, info)
    shown = validation.sample(SHOWN, stage.seed).floats(slice(SHOWN))
    with torch.inference_mode():
        plot_rows(
            stage.plots / "reconstructions.png",
            {"original": shown, "reconstructed": model(shown)},
            f"Validation images reconstructed from {settings.model.latent_dim} latent dimensions",
        )
        samples = model.sample(SAMPLES, torch.Generator().manual_seed(stage.seed))
    plot_grid(stage.plots / "samples.png", samples, 8, f"VAE on {info.name}: samples")
    stage.run.log_model(stage.output / "model", shown, shown)
    stage.write_metrics(
        {
            "validation": {settings.likelihood: bound_metrics(model, validation, stage.seed)}
            | reconstruction_metrics(model, validation),
            "epochs": len(training.history),
            "best_epoch": training.best_epoch,
            "parameters": count_parameters(model),
            "sparsity": sparsity(model),
        }
    )


@torch.inference_mode()
def _plot_latent_space(
    stage: StageContext, model: Vae, validation: ImageSet, info: DatasetInfo
) -> None:
    """Draw the posterior means if there are two or three latent dimensions.

    For two, also draw decoded codes at the quantiles of the prior. They are evenly spaced in prior
    probability.
    """
    dimensions = model.architecture.latent_dim
    if dimensions not in (2, 3):
        return
    images = validation.sample(MAP_IMAGES, stage.seed)
    means = apply_in_batches(model.means, in_batches(images)).numpy()
    axis_names = [f"latent dimension {number}" for number in range(1, dimensions + 1)]
    title = (
        f"VAE on {info.name}: posterior means\n"
        f"of {len(images):,} of {len(validation):,} validation images"
    )
    labels = images.labels.numpy()
    plot_latent_map(
        stage.plots / "means.png", means, labels, info.classes, axis_names, title, prior=True
    )
    if dimensions == 2:
        quantiles = (np.arange(GRID_SIZE) + 0.5) / GRID_SIZE
        grid = model.decode(prior_grid(quantiles))
        axis_names = [f"prior quantile of {name}" for name in axis_names]
        title = f"VAE on {info.name}: decoded quantiles of the prior"
        target = stage.plots / "latent_grid.png"
        plot_latent_grid(target, grid, quantiles, quantiles, axis_names, title)


def prior_grid(quantiles: np.ndarray) -> Tensor:
    """Return codes [Q * Q, 2] at quantiles [Q] of the standard normal prior, in rows.

    The second coordinate decreases from row to row, the first one increases within a row.
    """
    values = torch.special.ndtri(torch.tensor(quantiles)).float()
    y, x = torch.meshgrid(values.flip(0), values, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def _plot_curves(stage: StageContext, history: list[Record], best_epoch: int, dataset: str) -> None:
    curves = {
        "loss": "loss: reconstruction + beta * KL (nats per image)",
        "reconstruction": "negative log-likelihood (nats per image)",
        "kl": "KL divergence (nats per image)",
    }
    for term, ylabel in curves.items():
        plot_history(
            stage.plots / f"{term}.png",
            history,
            {f"train/{term}": "training", f"validation/{term}": "validation"},
            ylabel,
            f"VAE on {dataset}",
            best_epoch,
        )
