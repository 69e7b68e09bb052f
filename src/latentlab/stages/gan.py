"""gan: a deep convolutional GAN, judged while it trains by the reference classifier."""

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.generator_monitor import FRECHET, GeneratorMonitor
from latentlab.evaluation.latent.walks import spherical_interpolation
from latentlab.models.cost import count_parameters
from latentlab.models.gan import Discriminator, Generator
from latentlab.models.io import load_model, save_model
from latentlab.models.reference import ReferenceClassifier
from latentlab.params.generators import GanParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_grid, plot_rows, save_animation, tiled
from latentlab.training.gan import AdversarialTraining
from latentlab.training.loop import Record

SAMPLES = 64
COLUMNS = 8
WALKS = 6
WALK_STEPS = 12
EPOCHS_SHOWN = 10


def run(stage: StageContext) -> None:
    """Write the generator, the curves of both players, samples, and how those came to be."""
    info = stage.load_info()
    settings = stage.params.gan
    stage.run.log_params({"gan": settings.tree()})

    judge = load_model(ReferenceClassifier, stage.project.outputs("reference") / "model")
    validation = stage.load_split("validation")
    monitor = GeneratorMonitor(judge, validation, settings.eval_samples, stage.seed, stage.device)
    training = _prepare_training(stage, settings, info, monitor)
    run_and_log(stage, training)
    generator = training.restore_best().cpu()

    save_model(generator, stage.output / "model")
    title = f"DCGAN on {info.name}"
    _plot_curves(stage, training.history, settings.loss, title)
    frames = [tiled(frame / 255, COLUMNS)[None] for frame in training.frames]
    save_animation(stage.plots / "training.gif", frames, scale=2, milliseconds=400)
    _plot_epochs(stage, training.frames, title)
    random = torch.Generator().manual_seed(stage.seed)
    with torch.inference_mode():
        samples = generator.sample(SAMPLES, random)
        walks = walk_in_noise(generator, random)
    plot_grid(stage.plots / "samples.png", samples, COLUMNS, f"{title}: samples")
    plot_rows(stage.plots / "walks.png", walks, f"{title}: from one noise to another")
    inputs = torch.empty(1, generator.inputs)
    stage.run.log_model(stage.output / "model", inputs, samples)
    collapsed = [int(r["epoch"]) for r in training.history if r.get("validation/collapsed")]
    if collapsed:
        stage.run.set_tags({"collapsed": f"epochs {', '.join(map(str, collapsed))}"})
    best = training.history[training.best_epoch - 1]
    stage.write_metrics(
        {
            "train": _part(best, "train/"),
            "validation": _part(best, "validation/"),
            "real": monitor.real_baseline(stage.load_split("train")),
            "collapsed_epochs": len(collapsed),
            "epochs": len(training.history),
            "best_epoch": training.best_epoch,
            "parameters": {
                "generator": count_parameters(generator),
                "discriminator": count_parameters(training.discriminator),
            },
        }
    )


def _plot_epochs(stage: StageContext, frames: list[Tensor], title: str) -> None:
    """A row of the same noise for each of some epochs, the first and the last among them."""
    numbers = np.unique(np.linspace(1, len(frames), min(EPOCHS_SHOWN, len(frames))).round())
    rows = {f"epoch {n}": frames[n - 1][:COLUMNS] / 255 for n in numbers.astype(int).tolist()}
    plot_rows(stage.plots / "training.png", rows, f"{title}: the same noise after epochs")


def walk_in_noise(generator: Generator, random: torch.Generator) -> dict[str, Tensor]:
    """Rows of images from one noise to another, along the sphere that noise is near to."""
    inputs, _ = generator.draw(2 * WALKS, random)
    noise = generator.config["noise_dim"]
    rows = {}
    for number, (start, end) in enumerate(zip(inputs[::2], inputs[1::2], strict=True), 1):
        steps = spherical_interpolation(start[:noise], end[:noise], WALK_STEPS)
        of_one_class = start[noise:].expand(WALK_STEPS, -1)
        rows[str(number)] = (generator(torch.cat([steps, of_one_class], 1)) + 1) / 2
    return rows


def _prepare_training(
    stage: StageContext, settings: GanParams, info: DatasetInfo, monitor: GeneratorMonitor
) -> AdversarialTraining:
    train = stage.load_split("train")
    shares = _class_shares(train, info) if settings.conditional else []
    generator = Generator(info.image_shape, settings.noise_dim, settings.channels, shares)
    discriminator = Discriminator(
        info.image_shape,
        settings.width_of_discriminator,
        settings.normalization,
        len(shares),
    )
    return AdversarialTraining(
        generator,
        discriminator,
        settings,
        train,
        stage.seed,
        stage.device,
        checkpoint_of(stage),
        monitor,
    )


def _class_shares(train: ImageSet, info: DatasetInfo) -> list[float]:
    counts = train.labels.bincount(minlength=len(info.classes))
    return (counts / counts.sum()).tolist()


def _plot_curves(stage: StageContext, history: list[Record], loss: str, title: str) -> None:
    seen = "probability of being real" if loss == "bce" else "score, higher is more real"
    curves = {
        "loss": ("generator_loss", "discriminator_loss", f"{loss} loss"),
        "discriminator": ("d_real", "d_generated", seen),
        "gradients": ("generator_gradient", "discriminator_gradient", "norm of the gradient"),
    }
    names = {"d_real": "D(x), real", "d_generated": "D(G(z)), generated"}
    for file, (first, second, ylabel) in curves.items():
        lines = {
            f"train/{term}": names.get(term, term.partition("_")[0]) for term in (first, second)
        }
        plot_history(stage.plots / f"{file}.png", history, lines, ylabel, title)
    judged = [record for record in history if FRECHET in record]
    ylabel = "Fréchet distance in the reference classifier"
    plot_history(stage.plots / "frechet.png", judged, {FRECHET: "validation"}, ylabel, title)


def _part(record: Record, prefix: str) -> Record:
    return {n.removeprefix(prefix): v for n, v in record.items() if n.startswith(prefix)}
