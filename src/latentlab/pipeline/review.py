"""The review of a stage: models that are worse than their baseline, and problems of trainings.

Reviews are functions of histories and metrics. `StageContext.write_metrics` prints them, sets the
MLflow tags `below_baseline` and `diagnosis`, and writes `diagnosis.json`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from latentlab.evaluation.baselines import Comparison
from latentlab.evaluation.generation import FRECHET_DISTANCE
from latentlab.evaluation.generator_monitor import VALIDATION_DISTANCE
from latentlab.params.generators import GanParams, VaeParams
from latentlab.params.networks import OptimizationParams
from latentlab.training.diagnosis import (
    Curve,
    Finding,
    accuracy_is_useless,
    diagnose,
    diagnose_gan,
    posterior_collapse,
    reconstruction_is_useless,
)
from latentlab.training.loop import Record

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Review:
    """Comparisons with baselines, and findings with the section of their training."""

    comparisons: list[Comparison] = field(default_factory=list)
    findings: list[tuple[str, Finding]] = field(default_factory=list)

    def __add__(self, other: "Review") -> "Review":
        return Review(self.comparisons + other.comparisons, self.findings + other.findings)

    @property
    def below_baseline(self) -> str:
        """The metrics that are worse than their baselines, with both values."""
        return ", ".join(each.text for each in self.comparisons if each.below)

    @property
    def lines(self) -> list[str]:
        """One line for each finding: what happened, and which parameter to change."""
        return [f"{section}: {each.text}; {each.advice}" for section, each in self.findings]

    @property
    def tags(self) -> dict[str, str]:
        """The MLflow tags; a model without problems has none."""
        problems = dict.fromkeys(finding.problem for _, finding in self.findings)
        tags = {"below_baseline": self.below_baseline, "diagnosis": ", ".join(problems)}
        return {name: value for name, value in tags.items() if value}

    @property
    def tree(self) -> dict[str, Any]:
        """The contents of `diagnosis.json`."""
        return {
            "baselines": [asdict(each) | {"below": each.below} for each in self.comparisons],
            "findings": [{"section": section} | asdict(each) for section, each in self.findings],
        }


def review_autoencoder(
    history: list[Record], settings: OptimizationParams, validation: Metrics
) -> Review:
    """Review the autoencoder from its metrics on the validation split."""
    useless = reconstruction_is_useless(validation["mse"], validation["mean_image_mse"])
    findings = diagnose(_curve(history, "mse", settings), "train", useless, constant=useless)
    return _review([_compare_with_pca("validation", validation)], "train", findings)


def review_vae(history: list[Record], settings: VaeParams, validation: Metrics) -> Review:
    """Review the VAE from its metrics on the validation split."""
    curve, bounds = _curve(history, "sampled_mse", settings), validation[settings.likelihood]
    useless = reconstruction_is_useless(validation["mse"], validation["mean_image_mse"])
    findings = posterior_collapse(curve, bounds["kl"], bounds["active_units"], settings.beta)
    findings = findings or diagnose(curve, "vae", useless, constant=useless)
    return _review([_compare_with_pca("validation", validation)], "vae", findings)


def review_denoiser(
    name: str, history: list[Record], settings: OptimizationParams, validation: Metrics
) -> Review:
    """Review the denoiser of an entry of `denoise` from its metrics on the validation split."""
    curve, section = _curve(history, "mse", settings), f"denoise.{name}"
    constant = reconstruction_is_useless(validation["mse"], validation["mean_image_mse"])
    comparisons = compare_denoiser(f"{name}/validation", validation)
    useless = constant or (curve.flat and any(each.below for each in comparisons))
    return _review(comparisons, section, diagnose(curve, section, useless, constant))


def review_classifier(
    section: str,
    history: list[Record],
    settings: OptimizationParams,
    validation: Metrics,
    predicted: np.ndarray,
) -> Review:
    """Review a classifier from its metrics and predicted classes [N] on the validation split."""
    accuracy, majority = validation["accuracy"], validation["majority_accuracy"]
    useless = accuracy_is_useless(accuracy, majority, len(predicted))
    curve = _curve(history, "loss", settings)
    findings = diagnose(curve, section, useless, constant=len(np.unique(predicted)) == 1)
    return _review([compare_classifier("validation", validation)], section, findings)


def review_gan(
    history: list[Record], best_epoch: int, settings: GanParams, metrics: Metrics
) -> Review:
    """Review the GAN from its metrics, which include those of the Gaussian."""
    comparison = compare_generator("validation", metrics["validation"], metrics["pixel_gaussian"])
    bounded = settings.loss == "bce"
    findings = diagnose_gan(
        history, best_epoch, VALIDATION_DISTANCE, settings.epochs, comparison.below, bounded
    )
    return _review([comparison], "gan", findings)


def review_test(metrics: Metrics) -> Review:
    """Compare all models with their baselines on the test split; `metrics` are those of `test`."""
    comparisons = []
    for name in ("autoencoder", "vae"):
        baseline = {"pixel_pca_mse": metrics[name]["pixel_pca"]["mse"]}
        comparisons.append(_compare_with_pca(f"test/{name}", metrics[name] | baseline))
    for name, errors in metrics["denoise"].items():
        comparisons += compare_denoiser(f"test/denoise/{name}", errors)
    for name in ("classifier", "reference"):
        if "majority_accuracy" in metrics.get(name, {}):  # there is none without labels
            comparisons.append(compare_classifier(f"test/{name}", metrics[name]))
    generators = metrics["generators"]
    comparisons.append(
        compare_generator("test/generators/gan", generators["gan"], generators["pixel_gaussian"])
    )
    return Review(comparisons)


def compare_denoiser(prefix: str, errors: Metrics) -> list[Comparison]:
    """Compare a denoiser with the unprocessed input, and with the Wiener filter if there is one."""
    baselines = {"unprocessed input": "corrupted_mse", "Wiener filter": "wiener_mse"}
    return [
        Comparison(f"{prefix}/mse", errors["mse"], baseline, errors[key])
        for baseline, key in baselines.items()
        if key in errors
    ]


def compare_classifier(prefix: str, metrics: Metrics) -> Comparison:
    """Compare a classifier with the majority class."""
    accuracy, majority = metrics["accuracy"], metrics["majority_accuracy"]
    return Comparison(
        f"{prefix}/accuracy", accuracy, "majority class", majority, higher_is_better=True
    )


def compare_generator(prefix: str, metrics: Metrics, gaussian: Metrics) -> Comparison:
    """Compare a generator with a Gaussian in pixel space."""
    return Comparison(
        f"{prefix}/{FRECHET_DISTANCE}",
        metrics[FRECHET_DISTANCE],
        "Gaussian of the pixels",
        gaussian[FRECHET_DISTANCE],
    )


def _compare_with_pca(prefix: str, metrics: Metrics) -> Comparison:
    return Comparison(f"{prefix}/mse", metrics["mse"], "pixel PCA", metrics["pixel_pca_mse"])


def _review(comparisons: list[Comparison], section: str, findings: list[Finding]) -> Review:
    return Review(comparisons, [(section, finding) for finding in findings])


def _curve(history: list[Record], term: str, settings: OptimizationParams) -> Curve:
    """Return the curve of a loss term from the epoch in which the loss is final."""
    pruned = settings.prune_epochs if settings.prune_fraction else ()
    warmup = getattr(settings, "warmup_epochs", 0) - 1  # of the VAE
    frozen = getattr(settings, "unfreeze_after", None) or 0  # of finetune
    return Curve.of(history, term, settings.epochs, max(0, warmup, frozen, *pruned))
