"""gan: a deep convolutional GAN."""

import torch

from latentlab.adversarial.training import AdversarialTraining
from latentlab.models.gan import Discriminator, Generator
from latentlab.networks.size import count_parameters
from latentlab.networks.store import save_model
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_grid
from latentlab.stages.follow import checkpoint_of, follow
from latentlab.stages.stage import Stage

SAMPLES = 64


def run(stage: Stage) -> None:
    """Write the generator, the curves of both players and a grid of samples."""
    info = stage.load_info()
    settings = stage.params.gan
    stage.run.log_params({"gan": settings.tree()})

    generator = Generator(info.image_shape, settings.noise_dim, settings.channels)
    discriminator = Discriminator(info.image_shape, settings.channels)
    training = AdversarialTraining(
        generator,
        discriminator,
        settings,
        stage.load_split("train"),
        stage.seed,
        stage.device,
        checkpoint_of(stage),
    )
    follow(stage, training)
    generator = training.restore_best().cpu()

    save_model(generator, stage.output / "model")
    plot_history(
        stage.plots / "loss.png",
        training.history,
        {"train/generator_loss": "generator", "train/discriminator_loss": "discriminator"},
        "binary cross-entropy (nats)",
        f"DCGAN on {info.name}",
    )
    plot_history(
        stage.plots / "discriminator.png",
        training.history,
        {"train/d_real": "D(x), real", "train/d_generated": "D(G(z)), generated"},
        "probability of being real",
        f"DCGAN on {info.name}",
    )
    random = torch.Generator().manual_seed(stage.seed)
    with torch.inference_mode():
        samples = generator.sample(SAMPLES, random)
    plot_grid(stage.plots / "samples.png", samples, 8, f"DCGAN on {info.name}: samples")
    stage.run.log_model(stage.output / "model", torch.empty(1, settings.noise_dim), samples)
    last = training.history[-1]
    stage.write_metrics(
        {
            "train": {
                name.removeprefix("train/"): value
                for name, value in last.items()
                if name != "epoch"
            },
            "epochs": len(training.history),
            "parameters": {
                "generator": count_parameters(generator),
                "discriminator": count_parameters(discriminator),
            },
        }
    )
