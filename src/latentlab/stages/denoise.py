"""denoise: one denoising network for each entry of the section."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.data.image_set import DatasetInfo, ImageSet
from latentlab.evaluation.baselines import restoration_baselines
from latentlab.evaluation.reconstruction import restoration_metrics
from latentlab.models.denoiser import Denoiser, Network, network_builder
from latentlab.models.io import load_model
from latentlab.params.denoising import DenoiserParams
from latentlab.pipeline.context import EXAMPLES, StageContext
from latentlab.pipeline.jobs import job_of, run_and_log_all
from latentlab.pipeline.pictures import Probe, write_latent_map
from latentlab.pipeline.review import Review, review_denoiser
from latentlab.plots.curves import plot_overlaid
from latentlab.plots.images import plot_rows
from latentlab.tracking.run import Run
from latentlab.training.jobs import Job, Outcome

SHOWN = 12


def run(stage: StageContext) -> None:
    """Write the models, their learning curves and restored validation images."""
    info, validation = stage.load_info(), stage.load_split("validation")
    entries = stage.params.denoise
    stage.name_run(", ".join(entries))
    stage.run.log_params({"denoise": {name: each.tree() for name, each in entries.items()}})
    for folder in (stage.output / "model", stage.plots, stage.epoch_pictures):
        folder.mkdir(parents=True, exist_ok=True)  # DVC expects them even without entries
    # U-Nets first: they take longest, and a long training at the end would leave cores idle
    names = sorted(entries, key=lambda name: entries[name].network.type != "unet")
    probe = Probe.of(validation, stage.seed)
    jobs = [_job(stage, info, name, probe) for name in names]
    metrics: dict[str, Any] = {}
    reviews: list[Review] = []

    def evaluate(run: Run, outcome: Outcome) -> None:
        name = outcome.name
        metrics[name] = _evaluate(stage, run, outcome, validation, info)
        scores = metrics[name]["validation"]
        reviews.append(review_denoiser(name, outcome.history, entries[name], scores))
        run.set_tags(reviews[-1].tags)

    outcomes = run_and_log_all(stage, "denoiser", jobs, evaluate) if jobs else []
    if outcomes:
        histories = {outcome.name: outcome.history for outcome in outcomes}
        title = f"Denoising networks on {info.name}"
        ylabel = "validation MSE per pixel"
        plot_overlaid(stage.plots / "curves.png", histories, "validation/mse", ylabel, title)
    stage.write_table("history.csv", _history_rows(outcomes))
    stage.write_metrics(metrics, sum(reviews, Review()))


def _job(stage: StageContext, info: DatasetInfo, name: str, probe: Probe) -> Job:
    settings = stage.params.denoise[name]
    return job_of(
        stage,
        name,
        name,
        settings,
        partial(_denoiser, network_builder(settings, info), _corruption(settings)),
        params={"denoise": {name: settings.tree()}},
        model_dir=stage.output / "model" / name,
        draw=probe.restorations,
    )


def _denoiser(build: Callable[[], Network], corruption: Corruption) -> Denoiser:
    return Denoiser(build(), corruption)


def _corruption(settings: DenoiserParams) -> Corruption:
    """Return the corruption that an entry is trained to remove."""
    specs = [CorruptionSpec(each.name, *each.ends, each.weight) for each in settings.corruption]
    return Corruption(specs, settings.clip)


def _evaluate(
    stage: StageContext, run: Run, outcome: Outcome, validation: ImageSet, info: DatasetInfo
) -> dict[str, Any]:
    """Return the metrics of a denoiser, logged with the model; draw images and a latent map."""
    folder = stage.output / "model" / outcome.name
    model = load_model(Denoiser, folder)
    shown = validation.floats(slice(SHOWN))
    with torch.inference_mode():
        corrupted = model.corruption(shown, torch.Generator().manual_seed(stage.seed))
        restored = model(corrupted)
    plot_rows(
        stage.plots / f"{outcome.name}.png",
        {"clean": shown, "corrupted": corrupted, "restored": restored},
        f"{outcome.name}: corrupted and restored validation images",
    )
    title = f"Denoiser {outcome.name} on {info.name}"
    write_latent_map(stage, model, validation, info, title, f"{outcome.name}_latent_map.png")
    with torch.inference_mode():
        codes = model.network.latent_codes(corrupted[:EXAMPLES])
    run.log_model(folder, info, corrupted[:EXAMPLES], codes, outcome.best_epoch, outcome.name)
    errors = restoration_metrics(model, validation, model.corruption, stage.seed)
    run.log_headlines({"validation/mse": errors["mse"]}, step=len(outcome.history))
    train = stage.load_split("train")
    baselines = restoration_baselines(train, model.corruption, validation, stage.seed)
    return {
        "validation": errors | baselines,
        "epochs": len(outcome.history),
        "best_epoch": outcome.best_epoch,
        "parameters": outcome.parameters,
        "sparsity": outcome.sparsity,
    }


def _history_rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return the histories of all denoisers as the rows of one table."""
    rows: list[dict[str, Any]] = [
        {"denoiser": outcome.name} | record for outcome in outcomes for record in outcome.history
    ]
    return rows or [{"denoiser": ""}]
