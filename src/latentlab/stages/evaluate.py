"""evaluate: every model on the test split; the only stage that reads it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import DatasetInfo, ImageSet, stratified_sample
from latentlab.evaluation.classification import (
    classification_metrics,
    confusion_counts,
    confusion_rows,
)
from latentlab.evaluation.generation import class_entropy, frechet_distance
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.files import write_csv
from latentlab.latent.projection import pca, tsne
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.gan import Generator
from latentlab.models.inference import apply_in_batches, batch_size, in_batches, mean_terms
from latentlab.models.store import load_model
from latentlab.models.vae import Vae
from latentlab.plots.classification import plot_confusion
from latentlab.plots.images import plot_rows
from latentlab.plots.maps import plot_latent_map
from latentlab.progress import progress_bar
from latentlab.stages.stage import Stage

SHOWN = 12
CALLED = {"autoencoder": "autoencoder", "vae": "VAE", "gan": "DCGAN"}


@dataclass(frozen=True)
class Models:
    """What the other stages trained."""

    autoencoder: Autoencoder
    classifier: Classifier
    vae: Vae
    generator: Generator


def run(stage: Stage) -> None:
    """Write `metrics.json`, the confusion table, sample grids and latent maps."""
    info = stage.load_info()
    test = stage.load_split("test")
    stage.run.log_params({"evaluate": stage.params.evaluate.tree()})
    models = _load_models(stage)

    with progress_bar(stage.name, 4, "parts") as bar:
        metrics = {
            "autoencoder": reconstruction_metrics(models.autoencoder, test),
            "vae": reconstruction_metrics(models.vae, test) | _elbo(models.vae, test, stage.seed),
        }
        bar.advance(1)
        metrics["classifier"] = _classify(stage, models.classifier, info, test)
        bar.advance(1)
        samples = {name: _sample(stage, models, name) for name in ("vae", "gan")}
        for name, judged in _judge(models.classifier, samples, test).items():
            metrics[name] = metrics.get(name, {}) | judged
        _plot_images(stage, models, test, {n: s.shown for n, s in samples.items()})
        bar.advance(1)
        _plot_codes(stage, models, info, test)
        bar.advance(1)
    stage.write_metrics({"test": metrics})


def _load_models(stage: Stage) -> Models:
    outputs = stage.project.outputs
    return Models(
        load_model(Autoencoder, outputs("train") / "model"),
        load_model(Classifier, outputs("finetune") / "model"),
        load_model(Vae, outputs("vae") / "model"),
        load_model(Generator, outputs("gan") / "model"),
    )


def _elbo(vae: Vae, test: ImageSet, seed: int) -> dict[str, float]:
    """ELBO and KL in nats per image, one posterior sample each."""
    torch.manual_seed(seed)  # whatever was drawn for other models before
    terms = mean_terms(vae, test)
    return {"elbo": terms["elbo"], "kl": terms["kl"], "log_likelihood": -terms["reconstruction"]}


def _classify(
    stage: Stage, classifier: Classifier, info: DatasetInfo, test: ImageSet
) -> dict[str, float]:
    logits = apply_in_batches(classifier, in_batches(test))
    predicted, actual = logits.argmax(1).numpy(), test.labels.numpy()
    write_csv(stage.output / "confusion.csv", confusion_rows(predicted, actual, info.classes))
    counts = confusion_counts(predicted, actual, len(info.classes))
    plot_confusion(
        stage.plots / "confusion.png",
        counts,
        info.classes,
        f"{info.name}, test split",
    )
    return classification_metrics(counts)


@dataclass(frozen=True)
class Samples:
    """Generated images as the classifier sees them, and a few to look at."""

    features: np.ndarray
    logits: Tensor
    shown: Tensor


@torch.inference_mode()
def _sample(stage: Stage, models: Models, name: str) -> Samples:
    """Draw `evaluate.samples` images from a generator, never more at a time than memory holds."""
    generator = {"vae": models.vae, "gan": models.generator}[name]
    random = torch.Generator().manual_seed(stage.seed)
    at_once = batch_size(models.autoencoder.architecture.image_shape)
    features, logits, shown = [], [], None
    for start in range(0, stage.params.evaluate.samples, at_once):
        count = min(at_once, stage.params.evaluate.samples - start)
        images = generator.sample(count, random)
        seen = models.classifier.features(images)
        features.append(seen)
        logits.append(models.classifier.to_logits(seen))
        shown = images[: 2 * SHOWN] if shown is None else shown
    return Samples(torch.cat(features).numpy(), torch.cat(logits), shown)


def _judge(
    classifier: Classifier, samples: dict[str, Samples], test: ImageSet
) -> dict[str, dict[str, float]]:
    """Fréchet distance of samples to the test images in the classifier's features.

    `real` is the floor: one half of the test images against the other.
    """
    real = apply_in_batches(classifier.features, in_batches(test)).numpy()
    half = np.random.default_rng(0).permutation(len(real))
    judged = {"real": {"frechet_distance": frechet_distance(real[half[::2]], real[half[1::2]])}}
    for name, drawn in samples.items():
        judged[name] = {
            "frechet_distance": frechet_distance(drawn.features, real),
            "class_entropy": class_entropy(drawn.logits),
        }
    return judged


@torch.inference_mode()
def _plot_images(stage: Stage, models: Models, test: ImageSet, samples: dict[str, Tensor]) -> None:
    shown = test.floats(stratified_sample(test.labels, SHOWN, stage.seed)[:SHOWN])
    plot_rows(
        stage.plots / "reconstructions.png",
        {"original": shown, "autoencoder": models.autoencoder(shown), "VAE": models.vae(shown)},
        "test images and their reconstructions",
    )
    rows = {"real": shown}
    for name, images in samples.items():
        rows |= {f"{CALLED[name]} {i + 1}": images[i * SHOWN :][:SHOWN] for i in range(2)}
    plot_rows(stage.plots / "samples.png", rows, "generated samples below real test images")


@torch.inference_mode()
def _plot_codes(stage: Stage, models: Models, info: DatasetInfo, test: ImageSet) -> None:
    settings = stage.params.evaluate
    chosen = stratified_sample(test.labels, settings.projected_images, stage.seed)
    labels = test.labels[chosen].numpy()
    batches = list(in_batches(test.take(chosen)))
    codes = {
        "autoencoder": apply_in_batches(models.autoencoder.encode, batches).numpy(),
        "vae": apply_in_batches(lambda batch: models.vae.encode(batch)[0], batches).numpy(),
    }
    for name, values in codes.items():
        about = f"{CALLED[name]}, {values.shape[1]} dimensions, {len(values)} test images"
        points, explained = pca(values)
        axis_names = tuple(
            f"principal component {i + 1} ({share:.0%} of variance)"
            for i, share in enumerate(explained)
        )
        target = stage.plots / f"{name}_pca.png"
        plot_latent_map(target, points, labels, info.classes, axis_names, f"PCA: {about}")
        points = tsne(values, settings.tsne_perplexity, stage.seed)
        axis_names = ("t-SNE 1", "t-SNE 2")
        target = stage.plots / f"{name}_tsne.png"
        plot_latent_map(target, points, labels, info.classes, axis_names, f"t-SNE: {about}")
