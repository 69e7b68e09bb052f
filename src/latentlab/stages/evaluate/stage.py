"""evaluate: all models on the test split; no other stage measures anything on it."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlab.common.processes import background_process
from latentlab.common.progress import progress_bar
from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.bounds import bound_metrics, importance_weighted_bound
from latentlab.evaluation.examples import EXAMPLES, Examples, digest_images
from latentlab.evaluation.features import extract_features
from latentlab.evaluation.latent.projection import tsne_embeddings
from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace, ProbeImages
from latentlab.evaluation.reconstruction import error_metrics, squared_errors
from latentlab.evaluation.wiener import LinearFilters
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Generator
from latentlab.models.inference import in_batches
from latentlab.models.io import load_model, weights_checksum
from latentlab.models.reference import ReferenceClassifier
from latentlab.models.vae import Vae
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.latent import evaluate_latent_space, evaluate_pixel_pca
from latentlab.pipeline.review import review_test
from latentlab.plots.canvas import draw_in_background
from latentlab.plots.images import plot_rows
from latentlab.stages.evaluate.classification import evaluate_classification
from latentlab.stages.evaluate.generators import Sampler, evaluate_generators
from latentlab.stages.evaluate.robustness import evaluate_denoisers, evaluate_robustness

PARTS = 6
RECONSTRUCTIONS_SHOWN = 12


@dataclass(frozen=True)
class Models:
    """The models trained by other stages; there is no classifier without class labels."""

    autoencoder: Autoencoder
    classifier: Classifier | None
    vae: Vae
    generator: Generator
    reference: ReferenceClassifier
    denoisers: dict[str, Denoiser]


def run(stage: StageContext) -> None:
    """Write `metrics.json`, results per image, tables of confusion and robustness, and plots."""
    info = stage.load_info()
    stage.name_run(info.name)
    stage.run.log_params({"evaluate": stage.params.evaluate.tree()})
    test = stage.load_split("test")
    metrics: dict[str, dict[str, Any]] = {}
    per_image: dict[str, Tensor] = {}
    with (
        progress_bar(stage.name, PARTS, "parts") as bar,
        draw_in_background(),
        background_process() as executor,
    ):
        for part in _evaluate(stage, info, test, executor, per_image):
            for model, values in part.items():
                metrics[model] = metrics.get(model, {}) | values
            bar.advance(1)
    _write_examples(stage, per_image, test, info)
    labels = {} if info.labeled else {"labeled": False}
    stage.write_metrics(labels | {"test": metrics}, review_test(metrics))


def _evaluate(
    stage: StageContext,
    info: DatasetInfo,
    test: ImageSet,
    executor: Executor,
    per_image: dict[str, Tensor],
) -> Iterator[dict[str, Any]]:
    """Yield the metrics of each of PARTS parts, by model; add results per image [N] by metric.

    t-SNE runs in the process of `executor` in the meantime, and plots are drawn in another one.
    """
    models, settings = _load_models(stage, info), stage.params.evaluate
    stage.run.log_evaluated_models(_model_folders(stage, info))
    probes = _encode_probes(stage, models, info, test)
    embeddings = {
        name: executor.submit(tsne_embeddings, probe.codes, settings.tsne_perplexity, stage.seed)
        for name, probe in probes.items()
    }

    yield _evaluate_reconstruction(stage, models, test, per_image)

    features = extract_features(models.reference, in_batches(test))
    part = evaluate_classification(
        stage, models.classifier, models.reference, features, test, info, per_image
    )
    yield part

    samplers = _samplers(models, probes["autoencoder"])
    accuracy = part["reference"]["accuracy"]
    yield {
        "generators": evaluate_generators(
            stage, samplers, models.reference, features, accuracy, info
        )
    }

    yield _evaluate_latent_spaces(stage, probes, embeddings, test)

    # another seed than for the test images, whose noise the filters must not know
    filters = LinearFilters(stage.load_split("train"), stage.seed + 1)
    restored = evaluate_denoisers(stage, models.denoisers, filters, test)
    per_image |= {f"denoise/{name}/mse": each.errors for name, each in restored.items()}
    yield {"denoise": {name: each.metrics for name, each in restored.items()}}
    yield {
        "robustness": evaluate_robustness(
            stage, settings, models.autoencoder, models.denoisers, models.classifier, filters, test
        )
    }


def _evaluate_reconstruction(
    stage: StageContext, models: Models, test: ImageSet, per_image: dict[str, Tensor]
) -> dict[str, Any]:
    """Return the errors of both autoencoders and the bounds of the VAE; add errors per image."""
    _plot_reconstructions(stage, models, test)
    per_image["autoencoder/mse"] = squared_errors(models.autoencoder, test)
    per_image["vae/mse"] = squared_errors(models.vae, test)
    return {
        "autoencoder": error_metrics(per_image["autoencoder/mse"]),
        "vae": error_metrics(per_image["vae/mse"]) | _vae_bounds(stage, models.vae, test),
    }


def _evaluate_latent_spaces(
    stage: StageContext,
    probes: dict[str, EncodedProbe],
    embeddings: dict[str, Future[dict[int, np.ndarray]]],
    test: ImageSet,
) -> dict[str, Any]:
    """Return the metrics of each latent space, and those of PCA with as many dimensions."""
    dimensions = {name: probe.codes.shape[1] for name, probe in probes.items()}
    pixel_pca = {
        size: evaluate_pixel_pca(probes["vae"].source, size, test)
        for size in set(dimensions.values())
    }
    settings = stage.params.evaluate
    return {
        name: {
            "latent": evaluate_latent_space(
                probe, embeddings[name].result(), settings, stage.plots, name
            ),
            "pixel_pca": pixel_pca[dimensions[name]],
        }
        for name, probe in probes.items()
    }


def _load_models(stage: StageContext, info: DatasetInfo) -> Models:
    outputs = stage.project.outputs
    return Models(
        load_model(Autoencoder, outputs("train") / "model"),
        load_model(Classifier, outputs("finetune") / "model") if info.labeled else None,
        load_model(Vae, outputs("vae") / "model"),
        load_model(Generator, outputs("gan") / "model"),
        load_model(ReferenceClassifier, outputs("reference") / "model"),
        {
            name: load_model(Denoiser, outputs("denoise") / "model" / name)
            for name in stage.params.denoise
        },
    )


def _model_folders(stage: StageContext, info: DatasetInfo) -> dict[str, Path]:
    """Return the folders of the models by the beginnings of the names of their metrics."""
    folders = {
        "autoencoder": "train",
        "generators/autoencoder_kde": "train",
        "classifier": "finetune",
        "reference": "reference",
        "vae": "vae",
        "generators/vae": "vae",
        "generators/gan": "gan",
    }
    if not info.labeled:
        del folders["classifier"]
    models = {prefix: stage.project.outputs(name) / "model" for prefix, name in folders.items()}
    for name in stage.params.denoise:
        models[f"denoise/{name}"] = stage.project.outputs("denoise") / "model" / name
    return models


def _write_examples(
    stage: StageContext, per_image: dict[str, Tensor], test: ImageSet, info: DatasetInfo
) -> None:
    """Write results per image [N] by metric, and log them to MLflow."""
    folders = _model_folders(stage, info)
    examples = Examples(
        {
            f"{stage.name}/test/{metric}": (
                values.float() if values.is_floating_point() else values
            ).numpy()
            for metric, values in per_image.items()
        },
        {
            f"{stage.name}/test/{metric}": weights_checksum(folders[metric.rpartition("/")[0]])
            for metric in per_image
        },
        digest_images(test.images.numpy(), test.labels.numpy()),
    )
    examples.write(stage.output / EXAMPLES)
    stage.run.log_files(stage.output / EXAMPLES)


def _vae_bounds(stage: StageContext, vae: Vae, test: ImageSet) -> dict[str, dict[str, float]]:
    """Return bounds of the log-likelihood under the name of the likelihood.

    Bounds of different likelihoods are not comparable.
    """
    settings = stage.params.evaluate
    images = test.sample(settings.importance_images, stage.seed)
    samples = settings.importance_samples
    bounds = importance_weighted_bound(vae, images, samples, stage.seed)
    bounds |= {"iwae_samples": samples, "iwae_images": len(images)}
    return {vae.likelihood: bound_metrics(vae, test, stage.seed) | bounds}


@torch.inference_mode()
def _plot_reconstructions(stage: StageContext, models: Models, test: ImageSet) -> None:
    images = test.sample(RECONSTRUCTIONS_SHOWN, stage.seed).floats(slice(RECONSTRUCTIONS_SHOWN))
    plot_rows(
        stage.plots / "reconstructions.png",
        {"original": images, "autoencoder": models.autoencoder(images), "VAE": models.vae(images)},
        "Test images and their reconstructions",
    )


def _encode_probes(
    stage: StageContext, models: Models, info: DatasetInfo, test: ImageSet
) -> dict[str, EncodedProbe]:
    """Return the same probe images in each latent space."""
    source = ProbeImages.sample(
        stage.load_split("train"),
        test,
        info.classes,
        "test",
        stage.params.evaluate,
        stage.seed,
    )
    spaces = {
        "autoencoder": LatentSpace.of_autoencoder("Autoencoder", models.autoencoder),
        "vae": LatentSpace.of_vae("VAE", models.vae),
    }
    return {name: EncodedProbe(space, source) for name, space in spaces.items()}


def _samplers(models: Models, autoencoder: EncodedProbe) -> dict[str, Sampler]:
    """Return the samplers of all generators; the autoencoder decodes samples of its density."""

    def sample_density(count: int, random: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (1,), generator=random))
        return autoencoder.space.images(autoencoder.density.sample(count, seed))

    return {
        "gan": models.generator.sample,
        "vae": models.vae.sample,
        "autoencoder_kde": sample_density,
    }
