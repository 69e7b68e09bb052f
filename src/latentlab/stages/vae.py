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
from latentlab.plots.images import plot_grid, plot_plane, plot_rows
from latentlab.plots.maps import plot_latent_map
from latentlab.training.loop import Training
from latentlab.training.pruning import sparsity

SHOWN = 12
SAMPLES = 64
MAPPED = 2000
QUANTILES = 20


def run(stage: StageContext) -> None:
    """Write the model, its learning curves, reconstructions and samples from the prior."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = stage.params.vae
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
    _plot_curves(stage, training, info.name)
    _plot_codes(stage, model, validation, info)
    shown = validation.sample(SHOWN, stage.seed).floats(slice(SHOWN))
    with torch.inference_mode():
        plot_rows(
            stage.plots / "reconstructions.png",
            {"original": shown, "reconstructed": model(shown)},
            f"validation images through {settings.model.latent_dim} latent dimensions",
        )
        samples = model.sample(SAMPLES, torch.Generator().manual_seed(stage.seed))
    plot_grid(stage.plots / "samples.png", samples, 8, f"VAE on {info.name}: prior samples")
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
def _plot_codes(stage: StageContext, model: Vae, validation: ImageSet, info: DatasetInfo) -> None:
    """Posterior means in two or three dimensions, and in two what the decoder makes of the plane.

    Points of the plane are quantiles of the prior: as many codes are between two of them as
    between any others.
    """
    dimensions = model.architecture.latent_dim
    if dimensions not in (2, 3):
        return
    seen = validation.sample(MAPPED, stage.seed)
    means = apply_in_batches(model.means, in_batches(seen)).numpy()
    names = [f"dimension {number}" for number in range(1, dimensions + 1)]
    shown = f"{len(seen):,} of {len(validation):,} validation images"
    title = f"VAE on {info.name}: posterior means\nof {shown}"
    labels = seen.labels.numpy()
    plot_latent_map(
        stage.plots / "means.png", means, labels, info.classes, names, title, prior=True
    )
    if dimensions == 2:
        shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
        images = model.decode(prior_plane(shares))
        axes = [f"share of the prior below, {name}" for name in names]
        title = f"VAE on {info.name}: decoded quantiles of the prior"
        plot_plane(stage.plots / "plane.png", images, shares, shares, axes, title)


def prior_plane(shares: np.ndarray) -> Tensor:
    """Codes [Q * Q, 2] at the quantiles of the standard normal, the upper row first."""
    values = torch.special.ndtri(torch.tensor(shares)).float()
    up, across = torch.meshgrid(values.flip(0), values, indexing="ij")
    return torch.stack([across.flatten(), up.flatten()], 1)


def _plot_curves(stage: StageContext, training: Training, dataset: str) -> None:
    curves = {
        "loss": "negative ELBO, KL times beta (nats per image)",
        "reconstruction": "negative log-likelihood (nats per image)",
        "kl": "KL divergence (nats per image)",
    }
    for term, ylabel in curves.items():
        plot_history(
            stage.plots / f"{term}.png",
            training.history,
            {f"train/{term}": "training", f"validation/{term}": "validation"},
            ylabel,
            f"VAE on {dataset}",
            training.best_epoch,
        )
