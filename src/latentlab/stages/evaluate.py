"""evaluate: every model on the test split; the only stage that reads it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import DatasetInfo, ImageSet, stratified_sample
from latentlab.evaluation.classification import (
    calibration_error,
    class_metrics,
    classification_metrics,
    confusion_counts,
    confusion_rows,
)
from latentlab.evaluation.generation import class_entropy, frechet_distance
from latentlab.evaluation.pixel_pca import PixelPca
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.files import write_csv
from latentlab.latent.examine import examine, figures_of_view
from latentlab.latent.space import LatentSpace, Seen, View
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Generator
from latentlab.models.vae import Vae
from latentlab.networks.inference import apply_in_batches, batch_size, in_batches, mean_terms
from latentlab.networks.store import load_model
from latentlab.plots.canvas import painted_beside
from latentlab.plots.classification import plot_confusion, plot_mistakes
from latentlab.plots.images import plot_rows
from latentlab.progress import progress_bar
from latentlab.stages.robustness import judge_denoisers, judge_robustness
from latentlab.stages.stage import Stage

SHOWN = 12
MISTAKES = 24
CALLED = {"autoencoder": "autoencoder", "vae": "VAE", "gan": "DCGAN"}


@dataclass(frozen=True)
class Models:
    """What the other stages trained."""

    autoencoder: Autoencoder
    classifier: Classifier
    vae: Vae
    generator: Generator
    denoisers: dict[str, Denoiser]


def run(stage: Stage) -> None:
    """Write `metrics.json`, the confusion table, sample grids and latent maps."""
    info = stage.load_info()
    test = stage.load_split("test")
    stage.run.log_params({"evaluate": stage.params.evaluate.tree()})
    models = _load_models(stage)

    with progress_bar(stage.name, 5, "parts") as bar, painted_beside():
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
        for name, judged in _judge_codes(stage, models, info, test).items():
            metrics[name] = metrics.get(name, {}) | judged
        bar.advance(1)
        metrics["denoise"] = judge_denoisers(stage, models.denoisers, test)
        metrics["robustness"] = judge_robustness(
            stage,
            stage.params.evaluate,
            models.autoencoder,
            models.denoisers,
            models.classifier,
            test,
        )
        bar.advance(1)
    stage.write_metrics({"test": metrics})


def _load_models(stage: Stage) -> Models:
    outputs = stage.project.outputs
    return Models(
        load_model(Autoencoder, outputs("train") / "model"),
        load_model(Classifier, outputs("finetune") / "model"),
        load_model(Vae, outputs("vae") / "model"),
        load_model(Generator, outputs("gan") / "model"),
        {
            name: load_model(Denoiser, outputs("denoise") / "model" / name)
            for name in stage.params.denoise
        },
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
    title = f"{info.name}, test split"
    plot_confusion(stage.plots / "confusion.png", counts, info.classes, title)
    plot_confusion(
        stage.plots / "confusion_counts.png", counts, info.classes, title, as_shares=False
    )
    probabilities = logits.softmax(1)
    _plot_mistakes(stage, info, test, probabilities)
    return (
        classification_metrics(counts)
        | {"calibration_error": calibration_error(probabilities.numpy(), actual)}
        | class_metrics(counts, info.classes)
    )


def _plot_mistakes(stage: Stage, info: DatasetInfo, test: ImageSet, probabilities: Tensor) -> None:
    """The images whose own class got the lowest probability, of those that were mistaken."""
    own = probabilities[torch.arange(len(test)), test.labels]
    predicted = probabilities.argmax(1)
    mistaken = (predicted != test.labels).nonzero()[:, 0]
    worst = mistaken[own[mistaken].argsort(stable=True)][:MISTAKES]
    captions = [
        f"{info.classes[test.labels[index]]}\ntaken for {info.classes[predicted[index]]}"
        for index in worst
    ]
    title = f"{info.name}: the worst of {len(mistaken)} mistakes in {len(test)} test images"
    plot_mistakes(stage.plots / "mistakes.png", test.floats(worst), captions, 8, title)


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


def _judge_codes(stage: Stage, models: Models, info: DatasetInfo, test: ImageSet) -> dict:
    """Maps and figures of every latent space; those of pixel PCA are the line to beat."""
    settings, seed = stage.params.evaluate, stage.seed
    train = stage.load_split("train")
    seen = Seen.of(train, test, info.classes, "test", settings, seed)
    judged: dict = {}
    spaces = {
        "autoencoder": LatentSpace.of_autoencoder("autoencoder", models.autoencoder),
        "vae": LatentSpace.of_vae("VAE", models.vae),
    }
    for name, space in spaces.items():
        figures = examine(View(space, seen), settings, seed, stage.plots, name)
        judged[name] = {"latent": figures}
    baseline = PixelPca.fit(seen.train, models.autoencoder.architecture.latent_dim, seed)
    view = View(LatentSpace("pixel PCA", baseline.encode, baseline.decode), seen)
    mse = reconstruction_metrics(baseline, test)
    judged["pixel_pca"] = mse | {"latent": figures_of_view(view, seed)}
    return judged
