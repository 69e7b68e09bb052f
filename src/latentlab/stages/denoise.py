"""denoise: networks trained to restore spoilt images, one for each entry of the section."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from latentlab.data.corruption import Corruption, Kind
from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.restoration import restoration_metrics
from latentlab.files import write_csv
from latentlab.models.denoiser import Denoiser, network_of
from latentlab.networks.store import load_model
from latentlab.params.denoising import DenoiserParams
from latentlab.plots.comparison import plot_overlaid
from latentlab.plots.images import plot_rows
from latentlab.stages.jobs import follow_all, job_of
from latentlab.stages.stage import Stage
from latentlab.training.jobs import Job, Outcome

SHOWN = 12


def run(stage: Stage) -> None:
    """Write the models, their learning curves, and for each what it makes of spoilt images."""
    info, validation = stage.load_info(), stage.load_split("validation")
    entries = stage.params.denoise
    stage.run.log_params({"denoise": {name: each.tree() for name, each in entries.items()}})
    for folder in (stage.output / "model", stage.plots):
        folder.mkdir(parents=True, exist_ok=True)  # also where there is no entry
    # the longest first, so that no core waits for one that came last
    names = sorted(entries, key=lambda name: entries[name].skip is None)
    outcomes = follow_all(stage, [_job(stage, info, name) for name in names]) if names else []

    metrics = {outcome.name: _judge(stage, outcome, validation) for outcome in outcomes}
    if outcomes:
        histories = {outcome.name: outcome.history for outcome in outcomes}
        title = f"restoring spoilt images of {info.name}"
        ylabel = "validation MSE per pixel"
        plot_overlaid(stage.plots / "curves.png", histories, "validation/mse", ylabel, title)
    write_csv(stage.output / "history.csv", _rows(outcomes))
    stage.write_metrics(metrics)


def _job(stage: Stage, info: DatasetInfo, name: str) -> Job:
    settings = stage.params.denoise[name]
    return job_of(
        stage,
        name,
        name,
        settings,
        partial(_denoiser, network_of(settings, info), _corruption(settings)),
        kept=stage.output / "model" / name,
    )


def _denoiser(build: Callable[[], nn.Module], corruption: Corruption) -> Denoiser:
    return Denoiser(build(), corruption)


def _corruption(settings: DenoiserParams) -> Corruption:
    """What the images of an entry suffer."""
    kinds = [Kind(each.kind, *each.ends, each.weight) for each in settings.corruption]
    return Corruption(kinds, settings.clip)


def _judge(stage: Stage, outcome: Outcome, validation: ImageSet) -> dict:
    """The figures of a denoiser, and a picture of what it does."""
    model = load_model(Denoiser, stage.output / "model" / outcome.name)
    shown = validation.floats(slice(SHOWN))
    with torch.inference_mode():
        spoilt = model.corruption(shown, torch.Generator().manual_seed(stage.seed))
        restored = model(spoilt)
    plot_rows(
        stage.plots / f"{outcome.name}.png",
        {"clean": shown, "corrupted": spoilt, "restored": restored},
        f"{outcome.name}: validation images, spoilt and restored",
    )
    stage.run.log_model(stage.output / "model" / outcome.name, shown, restored, outcome.name)
    return {
        "validation": restoration_metrics(model, validation, model.corruption, stage.seed),
        "epochs": len(outcome.history),
        "best_epoch": outcome.best_epoch,
        "parameters": outcome.parameters,
        "sparsity": outcome.sparsity,
    }


def _rows(outcomes: list[Outcome]) -> list[dict]:
    """All histories in one table."""
    rows = [{"denoiser": each.name} | record for each in outcomes for record in each.history]
    return rows or [{"denoiser": ""}]
