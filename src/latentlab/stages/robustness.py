"""What becomes of spoilt test images; a part of evaluate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from latentlab.data.corruption import Corruption, Kind
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.restoration import Restore, restoration_metrics, robustness
from latentlab.evaluation.wiener import LinearFilters
from latentlab.files import write_csv
from latentlab.models.denoiser import Denoiser
from latentlab.params.schema import EvaluateParams
from latentlab.plots.robustness import plot_robustness
from latentlab.stages.stage import Stage

NOTHING, LINEAR = "nothing", "wiener"


@dataclass(frozen=True)
class Spoilt:
    """One way to spoil the images, and what each method then comes to."""

    kind: str
    severity: float
    figures: dict[str, dict[str, float]]


def judge_robustness(
    stage: Stage,
    settings: EvaluateParams,
    autoencoder: nn.Module,
    denoisers: dict[str, Denoiser],
    classify: Callable[[Tensor], Tensor],
    filters: LinearFilters,
    test: ImageSet,
) -> dict:
    """The figures of every method for every severity, as a tree; also a table and pictures."""
    methods: dict[str, Restore] = {NOTHING: _nothing, "autoencoder": autoencoder, **denoisers}
    found = []
    for kind, severity in _severities(settings):
        corruption = Corruption([Kind(kind, severity, severity)], settings.clip)
        linear = filters.of(corruption)
        lines = {} if linear is None else {LINEAR: linear}
        figures = robustness(methods | lines, classify, test, corruption, stage.seed)
        found.append(Spoilt(kind, severity, figures))
    _write_table(stage, found)
    tree: dict = {}
    for kind in settings.severities:
        of_kind = [each for each in found if each.kind == kind]
        curves = {each.severity: each.figures for each in of_kind}
        plot_robustness(stage.plots / f"robustness_{kind}.png", kind, curves)
        tree[kind] = {f"{severity:g}": figures for severity, figures in curves.items()}
    return tree


def judge_denoisers(
    stage: Stage, denoisers: dict[str, Denoiser], filters: LinearFilters, test: ImageSet
) -> dict:
    """Each denoiser on test images that were spoilt as those it learnt from."""
    judged = {}
    for name, denoiser in denoisers.items():
        figures = restoration_metrics(denoiser, test, denoiser.corruption, stage.seed)
        if (linear := filters.of(denoiser.corruption)) is not None:
            of_linear = restoration_metrics(linear, test, denoiser.corruption, stage.seed)
            figures["wiener_mse"] = of_linear["mse"]
        judged[name] = figures
    return judged


def _nothing(images: Tensor) -> Tensor:
    return images


def _severities(settings: EvaluateParams) -> Iterator[tuple[str, float]]:
    for kind, severities in settings.severities.items():
        for severity in severities:
            yield kind, severity


def _write_table(stage: Stage, found: list[Spoilt]) -> None:
    rows = [
        {"kind": each.kind, "severity": each.severity, "method": method} | figures
        for each in found
        for method, figures in each.figures.items()
    ]
    write_csv(stage.output / "robustness.csv", rows or [{"kind": ""}])
