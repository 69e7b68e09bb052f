"""denoise: networks trained to restore corrupted images, one for each entry of the section."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from latentlab.common.files import write_csv
from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.reconstruction import restoration_metrics
from latentlab.models.denoiser import Denoiser, network_of
from latentlab.models.io import load_model
from latentlab.params.denoising import DenoiserParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.jobs import job_of, run_and_log_all
from latentlab.plots.curves import plot_overlaid
from latentlab.plots.images import plot_rows
from latentlab.training.jobs import Job, Outcome

SHOWN = 12


def run(stage: StageContext) -> None:
    """Write the models, their learning curves, and for each what it makes of corrupted images."""
    info, validation = stage.load_info(), stage.load_split("validation")
    entries = stage.params.denoise
    stage.run.log_params({"denoise": {name: each.tree() for name, each in entries.items()}})
    for folder in (stage.output / "model", stage.plots):
        folder.mkdir(parents=True, exist_ok=True)  # also where there is no entry
    # the longest first, so that no core waits for one that came last
    names = sorted(entries, key=lambda name: entries[name].network.type != "unet")
    outcomes = run_and_log_all(stage, [_job(stage, info, name) for name in names]) if names else []

    metrics = {outcome.name: _judge(stage, outcome, validation) for outcome in outcomes}
    if outcomes:
        histories = {outcome.name: outcome.history for outcome in outcomes}
        title = f"restoring corrupted images of {info.name}"
        ylabel = "validation MSE per pixel"
        plot_overlaid(stage.plots / "curves.png", histories, "validation/mse", ylabel, title)
    write_csv(stage.output / "history.csv", _rows(outcomes))
    stage.write_metrics(metrics)


def _job(stage: StageContext, info: DatasetInfo, name: str) -> Job:
    settings = stage.params.denoise[name]
    return job_of(
        stage,
        name,
        name,
        settings,
        partial(_denoiser, network_of(settings, info), _corruption(settings)),
        model_dir=stage.output / "model" / name,
    )


def _denoiser(build: Callable[[], nn.Module], corruption: Corruption) -> Denoiser:
    return Denoiser(build(), corruption)


def _corruption(settings: DenoiserParams) -> Corruption:
    """What the images of an entry suffer."""
    kinds = [CorruptionSpec(each.name, *each.ends, each.weight) for each in settings.corruption]
    return Corruption(kinds, settings.clip)


def _judge(stage: StageContext, outcome: Outcome, validation: ImageSet) -> dict:
    """The figures of a denoiser, and a picture of what it does."""
    model = load_model(Denoiser, stage.output / "model" / outcome.name)
    shown = validation.floats(slice(SHOWN))
    with torch.inference_mode():
        corrupted = model.corruption(shown, torch.Generator().manual_seed(stage.seed))
        restored = model(corrupted)
    plot_rows(
        stage.plots / f"{outcome.name}.png",
        {"clean": shown, "corrupted": corrupted, "restored": restored},
        f"{outcome.name}: validation images, corrupted and restored",
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
