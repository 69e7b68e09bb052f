"""evaluate: every model on the test split; the only stage that reads it."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentlab.common.files import write_csv
from latentlab.common.processes import background_process
from latentlab.common.progress import progress_bar
from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.bounds import bound_metrics, importance_weighted_bound
from latentlab.evaluation.classification import (
    calibration_error,
    class_metrics,
    classification_metrics,
    confusion_counts,
    confusion_rows,
)
from latentlab.evaluation.features import Features, features_of_set
from latentlab.evaluation.latent.projection import tsne_embeddings
from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace, ProbeImages
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.evaluation.wiener import LinearFilters
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Generator
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import load_model
from latentlab.models.reference import ReferenceClassifier
from latentlab.models.vae import Vae
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.latent import evaluate_pixel_pca, examine
from latentlab.plots.canvas import draw_in_background
from latentlab.plots.classification import plot_confusion, plot_mistakes
from latentlab.plots.images import plot_rows
from latentlab.stages.evaluate.generators import Draw, evaluate_generators
from latentlab.stages.evaluate.robustness import evaluate_denoisers, evaluate_robustness

PARTS = 6
SHOWN = 12
MISTAKES = 24


@dataclass(frozen=True)
class Models:
    """What the other stages trained."""

    autoencoder: Autoencoder
    classifier: Classifier
    vae: Vae
    generator: Generator
    reference: ReferenceClassifier
    denoisers: dict[str, Denoiser]


def run(stage: StageContext) -> None:
    """Write `metrics.json`, the confusion table, sample grids and latent maps."""
    stage.run.log_params({"evaluate": stage.params.evaluate.tree()})
    metrics: dict[str, dict[str, Any]] = {}
    with (
        progress_bar(stage.name, PARTS, "parts") as bar,
        draw_in_background(),
        background_process() as beside,
    ):
        for part in _judge(stage, stage.load_info(), stage.load_split("test"), beside):
            for name, figures in part.items():
                metrics[name] = metrics.get(name, {}) | figures
            bar.advance(1)
    stage.write_metrics({"test": metrics})


def _judge(
    stage: StageContext, info: DatasetInfo, test: ImageSet, beside: Executor
) -> Iterator[dict[str, Any]]:
    """Each of PARTS: figures by the name of what they are of.

    Pictures are painted in another process, and codes embedded in the one `beside`.
    """
    models, settings = _load_models(stage), stage.params.evaluate
    views = _views(stage, models, info, test)
    embedded = {
        name: beside.submit(tsne_embeddings, view.codes, settings.tsne_perplexity, stage.seed)
        for name, view in views.items()
    }
    _plot_reconstructions(stage, models, test)
    yield {
        "autoencoder": reconstruction_metrics(models.autoencoder, test),
        "vae": reconstruction_metrics(models.vae, test) | _vae_bounds(stage, models.vae, test),
    }
    seen = features_of_set(models.reference, test)
    yield {
        "classifier": _classify(stage, models.classifier, info, test),
        "reference": _accuracy(seen, info, test),
    }
    drawing = _generators(models, views["autoencoder"])
    yield {"generators": evaluate_generators(stage, drawing, models.reference, seen, info)}
    dimensions = {name: view.codes.shape[1] for name, view in views.items()}
    lines = {d: evaluate_pixel_pca(views["vae"].seen, d, test) for d in set(dimensions.values())}
    yield {
        name: {
            "latent": examine(view, embedded[name].result(), settings, stage.plots, name),
            "pixel_pca": lines[dimensions[name]],
        }
        for name, view in views.items()
    }
    # of another seed than what spoils the test images: their noise is not to be learnt
    filters = LinearFilters(stage.load_split("train"), stage.seed + 1)
    yield {"denoise": evaluate_denoisers(stage, models.denoisers, filters, test)}
    restorers = (models.autoencoder, models.denoisers, models.classifier)
    yield {"robustness": evaluate_robustness(stage, settings, *restorers, filters, test)}


def _load_models(stage: StageContext) -> Models:
    outputs = stage.project.outputs
    return Models(
        load_model(Autoencoder, outputs("train") / "model"),
        load_model(Classifier, outputs("finetune") / "model"),
        load_model(Vae, outputs("vae") / "model"),
        load_model(Generator, outputs("gan") / "model"),
        load_model(ReferenceClassifier, outputs("reference") / "model"),
        {
            name: load_model(Denoiser, outputs("denoise") / "model" / name)
            for name in stage.params.denoise
        },
    )


def _vae_bounds(stage: StageContext, vae: Vae, test: ImageSet) -> dict[str, dict[str, float]]:
    """Figures of the likelihood under its name: those of another cannot be compared with them."""
    settings = stage.params.evaluate
    chosen = test.sample(settings.importance_images, stage.seed)
    samples = settings.importance_samples
    bounds = importance_weighted_bound(vae, chosen, samples, stage.seed)
    bounds |= {"iwae_samples": samples, "iwae_images": len(chosen)}
    return {vae.likelihood: bound_metrics(vae, test, stage.seed) | bounds}


def _classify(
    stage: StageContext, classifier: Classifier, info: DatasetInfo, test: ImageSet
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


def _accuracy(seen: Features, info: DatasetInfo, test: ImageSet) -> dict[str, float]:
    counts = confusion_counts(seen.classes, test.labels.numpy(), len(info.classes))
    return classification_metrics(counts)


def _plot_mistakes(
    stage: StageContext, info: DatasetInfo, test: ImageSet, probabilities: Tensor
) -> None:
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
    plot_mistakes(stage.plots / "errors.png", test.floats(worst), captions, 8, title)


@torch.inference_mode()
def _plot_reconstructions(stage: StageContext, models: Models, test: ImageSet) -> None:
    shown = test.sample(SHOWN, stage.seed).floats(slice(SHOWN))
    plot_rows(
        stage.plots / "reconstructions.png",
        {"original": shown, "autoencoder": models.autoencoder(shown), "VAE": models.vae(shown)},
        "test images and their reconstructions",
    )


def _views(
    stage: StageContext, models: Models, info: DatasetInfo, test: ImageSet
) -> dict[str, EncodedProbe]:
    """Every latent space, as the same images show it."""
    seed, train = stage.seed, stage.load_split("train")
    seen = ProbeImages.sample(train, test, info.classes, "test", stage.params.evaluate, seed)
    spaces = {
        "autoencoder": LatentSpace.of_autoencoder("autoencoder", models.autoencoder),
        "vae": LatentSpace.of_vae("VAE", models.vae),
    }
    return {name: EncodedProbe(space, seen) for name, space in spaces.items()}


def _generators(models: Models, autoencoder: EncodedProbe) -> dict[str, Draw]:
    """What draws images; of the autoencoder from the density of its codes."""

    def from_density(count: int, random: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (1,), generator=random))
        return autoencoder.space.images(autoencoder.density.sample(count, seed))

    return {
        "gan": models.generator.sample,
        "vae": models.vae.sample,
        "autoencoder_kde": from_density,
    }
