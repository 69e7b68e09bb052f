"""evaluate: robustness of all denoising methods and of the classifier to corrupted test images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import (
    Restoration,
    Restore,
    restoration_metrics,
    restore_images,
    robustness,
)
from latentlab.evaluation.wiener import LinearFilters
from latentlab.models.denoiser import Denoiser
from latentlab.params.schema import EvaluateParams
from latentlab.pipeline.context import StageContext
from latentlab.plots.robustness import plot_robustness

IDENTITY, WIENER = "identity", "wiener"

Metrics = dict[str, float]


@dataclass(frozen=True)
class CorruptionResult:
    """The metrics of each method for one corruption at one severity."""

    corruption: str
    severity: float
    metrics: dict[str, Metrics]


def evaluate_robustness(
    stage: StageContext,
    settings: EvaluateParams,
    autoencoder: Restore,
    denoisers: dict[str, Denoiser],
    classify: Callable[[Tensor], Tensor] | None,
    filters: LinearFilters,
    test: ImageSet,
) -> dict[str, dict[str, dict[str, Metrics]]]:
    """Return MSE and accuracy by corruption, severity and method; write a table and plots.

    `classify` maps images to logits; its accuracy is measured on the output of each method, if it
    is given. The method `identity` returns its input.
    """
    methods: dict[str, Restore] = {IDENTITY: _identity, "autoencoder": autoencoder, **denoisers}
    results = []
    for name, severity in _severities(settings):
        corruption = Corruption([CorruptionSpec(name, severity, severity)], settings.clip)
        linear = filters.of(corruption)
        baselines = {} if linear is None else {WIENER: linear}
        metrics = robustness(methods | baselines, classify, test, corruption, stage.seed)
        results.append(CorruptionResult(name, severity, metrics))
    _write_table(stage, results)
    tree: dict[str, dict[str, dict[str, Metrics]]] = {}
    for name in settings.severities:
        curves = {each.severity: each.metrics for each in results if each.corruption == name}
        plot_robustness(stage.plots / f"robustness_{name}.png", name, curves)
        tree[name] = {f"{severity:g}": metrics for severity, metrics in curves.items()}
    return tree


def evaluate_denoisers(
    stage: StageContext, denoisers: dict[str, Denoiser], filters: LinearFilters, test: ImageSet
) -> dict[str, Restoration]:
    """Return the errors of each denoiser on test images corrupted like its training images.

    The metrics include that of the optimal linear filter, where there is one.
    """
    results = {}
    for name, denoiser in denoisers.items():
        results[name] = restore_images(denoiser, test, denoiser.corruption, stage.seed)
        if (linear := filters.of(denoiser.corruption)) is not None:
            of_linear = restoration_metrics(linear, test, denoiser.corruption, stage.seed)
            results[name].metrics["wiener_mse"] = of_linear["mse"]
    return results


def _identity(images: Tensor) -> Tensor:
    return images


def _severities(settings: EvaluateParams) -> Iterator[tuple[str, float]]:
    """Yield each corruption with each of its severities."""
    for name, severities in settings.severities.items():
        for severity in severities:
            yield name, severity


def _write_table(stage: StageContext, results: list[CorruptionResult]) -> None:
    rows: list[dict[str, Any]] = [
        {"corruption": each.corruption, "severity": each.severity, "method": method} | metrics
        for each in results
        for method, metrics in each.metrics.items()
    ]
    stage.write_table("robustness.csv", rows or [{"corruption": ""}])
