"""vae: the variational autoencoder."""

import numpy as np
import torch
from torch import Tensor

from latentlab.evaluation.baselines import reconstruction_baselines
from latentlab.evaluation.bounds import bound_metrics
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.cost import count_parameters
from latentlab.models.io import save_model
from latentlab.models.vae import KlSchedule, Vae
from latentlab.params.geometry import Architecture
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.pictures import Probe, write_latent_map
from latentlab.pipeline.review import review_vae
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_grid, plot_latent_grid, plot_rows
from latentlab.training.loop import Record, Training
from latentlab.training.pruning import sparsity

SHOWN = 12
SAMPLES = 64
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
    run_and_log(stage, training, Probe.of(validation, stage.seed).reconstructions)
    model = training.restore_best().cpu()

    save_model(model, stage.output / "model")
    _plot_curves(stage, training.history, training.best_epoch, info.name)
    title = f"VAE on {info.name}"
    write_latent_map(stage, model, validation, info, title, prior=True)
    _plot_prior(stage, model, title)
    shown = validation.sample(SHOWN, stage.seed).floats(slice(SHOWN))
    with torch.inference_mode():
        plot_rows(
            stage.plots / "reconstructions.png",
            {"original": shown, "reconstructed": model(shown)},
            f"Validation images reconstructed from {settings.model.latent_dim} latent dimensions",
        )
        samples = model.sample(SAMPLES, torch.Generator().manual_seed(stage.seed))
    plot_grid(stage.plots / "samples.png", samples, 8, f"{title}: samples")
    stage.log_model(model, shown, info, training.best_epoch)
    scores = (
        {settings.likelihood: bound_metrics(model, validation, stage.seed)}
        | reconstruction_metrics(model, validation)
        | reconstruction_baselines(train, settings.model.latent_dim, validation, stage.seed)
    )
    metrics = {
        "validation": scores,
        "epochs": len(training.history),
        "best_epoch": training.best_epoch,
        "parameters": count_parameters(model),
        "sparsity": sparsity(model),
    }
    stage.write_metrics(metrics, review_vae(training.history, settings, scores))


@torch.inference_mode()
def _plot_prior(stage: StageContext, model: Vae, title: str) -> None:
    """Draw decoded codes at the quantiles of the prior, if there are two latent dimensions.

    They are evenly spaced in prior probability.
    """
    if model.architecture.latent_dim != 2:
        return
    quantiles = (np.arange(GRID_SIZE) + 0.5) / GRID_SIZE
    plot_latent_grid(
        stage.plots / "latent_grid.png",
        model.decode(prior_grid(quantiles)),
        quantiles,
        quantiles,
        [f"prior quantile of latent dimension {number}" for number in (1, 2)],
        f"{title}: decoded quantiles of the prior",
    )


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
