"""gan: a deep convolutional GAN, evaluated during training in the features of `reference`."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from latentlab.common.progress import note
from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.generator_monitor import VALIDATION_DISTANCE, GeneratorMonitor
from latentlab.evaluation.latent.interpolation import spherical_interpolation
from latentlab.evaluation.latent.projection import latent_plane
from latentlab.models.cost import count_parameters
from latentlab.models.gan import Discriminator, Generator
from latentlab.models.io import load_model, save_model
from latentlab.models.reference import ReferenceClassifier
from latentlab.params.generators import GanParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.pictures import Probe
from latentlab.pipeline.review import review_gan
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_grid, plot_rows, save_animation, tile_images
from latentlab.plots.maps import plot_latent_map
from latentlab.plots.pixels import draw_images, draw_map
from latentlab.training.gan import AdversarialTraining
from latentlab.training.loop import Record

SAMPLES = 64
COLUMNS = 8
INTERPOLATIONS = 6
INTERPOLATION_STEPS = 12
EPOCHS_SHOWN = 10


def run(stage: StageContext) -> None:
    """Write the generator, learning curves, samples, and samples after each epoch."""
    info = stage.load_info()
    settings = stage.params.gan
    if settings.conditional and not info.labeled:
        note(f"{stage.name}: unconditional, because {info.name} has no class labels")
    stage.name_run(f"{settings.loss} loss, noise {settings.noise_dim}")
    stage.run.log_params({"gan": settings.tree()})

    reference = load_model(ReferenceClassifier, stage.project.outputs("reference") / "model")
    validation = stage.load_split("validation")
    monitor = GeneratorMonitor(
        reference, validation, settings.eval_samples, stage.seed, stage.device, info.labeled
    )
    training = _prepare_training(stage, settings, info, monitor)
    probe = Probe.of(validation, stage.seed)
    run_and_log(stage, training, partial(_draw_samples, reference, probe))
    generator = training.restore_best().cpu()

    save_model(generator, stage.output / "model")
    title = f"DCGAN on {info.name}"
    _plot_curves(stage, training.history, settings.loss, title)
    _plot_progress(stage, training.frames, title)
    samples = _plot_samples(stage, generator, title)
    points, labels, axis_names = _map_features(reference.cpu(), probe, generator)
    plot_latent_map(
        stage.plots / "latent_map.png",
        points,
        labels,
        ["validation images", "generated images"],
        axis_names,
        f"{title}: reference features\nof {len(probe.images):,} images each",
    )
    noise = torch.zeros(len(samples), generator.noise_dim)
    stage.run.log_model(stage.output / "model", info, samples, noise, training.best_epoch)
    collapsed = [int(r["epoch"]) for r in training.history if r.get("validation/collapsed")]
    if collapsed:
        stage.run.set_tags({"collapsed": f"epochs {', '.join(map(str, collapsed))}"})
    best = training.history[training.best_epoch - 1]
    metrics = {
        "train": _entries_of(best, "train/"),
        "validation": _entries_of(best, "validation/"),
        "real": monitor.real_baseline(stage.load_split("train")),
        "pixel_gaussian": monitor.gaussian_baseline(stage.load_split("train")),
        "collapsed_epochs": len(collapsed),
        "epochs": len(training.history),
        "best_epoch": training.best_epoch,
        "parameters": {
            "generator": count_parameters(generator),
            "discriminator": count_parameters(training.discriminator),
        },
    }
    review = review_gan(training.history, training.best_epoch, settings, metrics)
    stage.write_metrics(metrics, review)


def interpolate_noise(generator: Generator, random: torch.Generator) -> dict[str, Tensor]:
    """Return rows of images [12, C, S, S] between pairs of noise vectors, of one class each.

    The interpolation is spherical, because the length of Gaussian noise is nearly constant.
    """
    inputs, _ = generator.draw(2 * INTERPOLATIONS, random)
    noise_dim = generator.noise_dim
    rows = {}
    for number, (start, end) in enumerate(zip(inputs[::2], inputs[1::2], strict=True), 1):
        noise = spherical_interpolation(start[:noise_dim], end[:noise_dim], INTERPOLATION_STEPS)
        condition = start[noise_dim:].expand(INTERPOLATION_STEPS, -1)
        rows[str(number)] = (generator(torch.cat([noise, condition], 1)) + 1) / 2
    return rows


@torch.inference_mode()
def _map_features(
    reference: ReferenceClassifier, probe: Probe, generator: Generator
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Project reference features of N validation images and N generated ones on a plane.

    Returns the points [2 * N, 2], labels [2 * N] that are 0 for validation images and 1 for
    generated ones, and the names of the axes. The noise is the same every time.
    """
    count = len(probe.images)
    generated = generator.sample(count, torch.Generator().manual_seed(0))
    device = next(reference.parameters()).device
    images = torch.cat([probe.images.to(device), generated.to(device)])
    labels = torch.tensor([0, 1]).repeat_interleave(count)
    order = torch.arange(2 * count).view(2, count).T.flatten()  # neither set hides the other
    points, axis_names = latent_plane(reference.embed(images)[order])
    return points, labels[order].numpy(), axis_names


def _draw_samples(
    reference: ReferenceClassifier, probe: Probe, generator: Generator
) -> dict[str, np.ndarray]:
    """Draw samples of fixed noise, and a map of the features of validation and generated images."""
    samples = generator.sample(len(probe.shown), torch.Generator().manual_seed(0))
    points, labels, _ = _map_features(reference, probe, generator)
    return {"samples": draw_images(samples), "latent_map": draw_map(points, labels)}


def _prepare_training(
    stage: StageContext, settings: GanParams, info: DatasetInfo, monitor: GeneratorMonitor
) -> AdversarialTraining:
    train = stage.load_split("train")
    conditional = settings.conditional and info.labeled
    shares = _class_shares(train, info) if conditional else []
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
    shares: list[float] = (counts / counts.sum()).tolist()
    return shares


@torch.inference_mode()
def _plot_samples(stage: StageContext, generator: Generator, title: str) -> Tensor:
    """Draw samples and interpolations; return the samples [64, C, S, S]."""
    random = torch.Generator().manual_seed(stage.seed)
    samples = generator.sample(SAMPLES, random)
    plot_grid(stage.plots / "samples.png", samples, COLUMNS, f"{title}: samples")
    rows = interpolate_noise(generator, random)
    plot_rows(stage.plots / "walks.png", rows, f"{title}: interpolations between noise vectors")
    return samples


def _plot_progress(stage: StageContext, frames: list[Tensor], title: str) -> None:
    """Draw the images of fixed noise after each epoch: an animation, and rows of some epochs."""
    tiles = [tile_images(frame / 255, COLUMNS)[None] for frame in frames]
    save_animation(stage.plots / "training.gif", tiles, scale=2, milliseconds=400)
    numbers = np.unique(np.linspace(1, len(frames), min(EPOCHS_SHOWN, len(frames))).round())
    rows = {f"epoch {n}": frames[n - 1][:COLUMNS] / 255 for n in numbers.astype(int).tolist()}
    plot_rows(stage.plots / "training.png", rows, f"{title}: images of fixed noise during training")


def _plot_curves(stage: StageContext, history: list[Record], loss: str, title: str) -> None:
    output = "D: probability of being real" if loss == "bce" else "D: score (higher: real)"
    curves = {
        "loss": ("generator_loss", "discriminator_loss", f"{loss} loss"),
        "discriminator": ("d_real", "d_generated", output),
        "gradients": ("generator_gradient", "discriminator_gradient", "gradient norm"),
    }
    legends = {"d_real": "D(x), real images", "d_generated": "D(G(z)), generated images"}
    for file, (first, second, ylabel) in curves.items():
        columns = {
            f"train/{term}": legends.get(term, term.partition("_")[0]) for term in (first, second)
        }
        plot_history(stage.plots / f"{file}.png", history, columns, ylabel, title)
    evaluated = [record for record in history if VALIDATION_DISTANCE in record]
    ylabel = "Fréchet distance (reference features)"
    columns = {VALIDATION_DISTANCE: "validation"}
    plot_history(stage.plots / "frechet.png", evaluated, columns, ylabel, title)


def _entries_of(record: Record, prefix: str) -> Record:
    """Return the entries whose names start with `prefix`, without it."""
    return {n.removeprefix(prefix): v for n, v in record.items() if n.startswith(prefix)}
