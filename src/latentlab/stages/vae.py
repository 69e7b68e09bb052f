"""vae: the variational autoencoder."""

import torch

from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.vae import Vae
from latentlab.networks.architecture import Architecture
from latentlab.networks.size import count_parameters
from latentlab.networks.store import save_model
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_grid, plot_rows
from latentlab.stages.follow import checkpoint_of, follow
from latentlab.stages.stage import Stage
from latentlab.training.loop import Training
from latentlab.training.pruning import sparsity

SHOWN = 12
SAMPLES = 64


def run(stage: Stage) -> None:
    """Write the model, its learning curves, reconstructions and samples from the prior."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = stage.params.vae
    stage.run.log_params({"vae": settings.tree()})

    model = Vae(Architecture.of(settings.model, info), settings.likelihood, settings.beta)
    training = Training(
        model, settings, train, validation, stage.seed, stage.device, checkpoint_of(stage)
    )
    follow(stage, training)
    model = training.restore_best().cpu()

    save_model(model, stage.output / "model")
    _plot_curves(stage, training, info.name)
    shown = validation.floats(slice(SHOWN))
    with torch.inference_mode():
        plot_rows(
            stage.plots / "reconstructions.png",
            {"original": shown, "reconstructed": model(shown)},
            f"validation images through {settings.model.latent_dim} latent dimensions",
        )
        samples = model.sample(SAMPLES, torch.Generator().manual_seed(stage.seed))
    plot_grid(stage.plots / "samples.png", samples, 8, f"VAE on {info.name}: prior samples")
    stage.run.log_model(stage.output / "model", shown, shown)
    best = training.history[training.best_epoch - 1]
    terms = ("loss", "elbo", "reconstruction", "kl")
    stage.write_metrics(
        {
            "validation": {term: best[f"validation/{term}"] for term in terms}
            | reconstruction_metrics(model, validation),
            "epochs": len(training.history),
            "best_epoch": training.best_epoch,
            "parameters": count_parameters(model),
            "sparsity": sparsity(model),
        }
    )


def _plot_curves(stage: Stage, training: Training, dataset: str) -> None:
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
