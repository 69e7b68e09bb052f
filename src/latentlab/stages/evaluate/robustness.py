"""What becomes of corrupted test images; a part of evaluate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from latentlab.common.files import write_csv
from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import Restore, restoration_metrics, robustness
from latentlab.evaluation.wiener import LinearFilters
from latentlab.models.denoiser import Denoiser
from latentlab.params.schema import EvaluateParams
from latentlab.pipeline.context import StageContext
from latentlab.plots.robustness import plot_robustness

IDENTITY, WIENER = "identity", "wiener"


@dataclass(frozen=True)
class CorruptionResult:
    """One way to spoil the images, and what each method then comes to."""

    name: str
    severity: float
    figures: dict[str, dict[str, float]]


def evaluate_robustness(
    stage: StageContext,
    settings: EvaluateParams,
    autoencoder: nn.Module,
    denoisers: dict[str, Denoiser],
    classify: Callable[[Tensor], Tensor],
    filters: LinearFilters,
    test: ImageSet,
) -> dict:
    """The figures of every method for every severity, as a tree; also a table and pictures."""
    methods: dict[str, Restore] = {IDENTITY: _identity, "autoencoder": autoencoder, **denoisers}
    found = []
    for name, severity in _severities(settings):
        corruption = Corruption([CorruptionSpec(name, severity, severity)], settings.clip)
        linear = filters.of(corruption)
        lines = {} if linear is None else {WIENER: linear}
        figures = robustness(methods | lines, classify, test, corruption, stage.seed)
        found.append(CorruptionResult(name, severity, figures))
    _write_table(stage, found)
    tree: dict = {}
    for name in settings.severities:
        of_kind = [each for each in found if each.name == name]
        curves = {each.severity: each.figures for each in of_kind}
        plot_robustness(stage.plots / f"robustness_{name}.png", name, curves)
        tree[name] = {f"{severity:g}": figures for severity, figures in curves.items()}
    return tree


def evaluate_denoisers(
    stage: StageContext, denoisers: dict[str, Denoiser], filters: LinearFilters, test: ImageSet
) -> dict:
    """Each denoiser on test images that were corrupted as those it learnt from."""
    judged = {}
    for name, denoiser in denoisers.items():
        figures = restoration_metrics(denoiser, test, denoiser.corruption, stage.seed)
        if (linear := filters.of(denoiser.corruption)) is not None:
            of_linear = restoration_metrics(linear, test, denoiser.corruption, stage.seed)
            figures["wiener_mse"] = of_linear["mse"]
        judged[name] = figures
    return judged


def _identity(images: Tensor) -> Tensor:
    return images


def _severities(settings: EvaluateParams) -> Iterator[tuple[str, float]]:
    for name, severities in settings.severities.items():
        for severity in severities:
            yield name, severity


def _write_table(stage: StageContext, found: list[CorruptionResult]) -> None:
    rows = [
        {"corruption": each.name, "severity": each.severity, "method": method} | figures
        for each in found
        for method, figures in each.figures.items()
    ]
    write_csv(stage.output / "robustness.csv", rows or [{"corruption": ""}])
