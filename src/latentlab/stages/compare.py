"""compare: the autoencoder trained anew for each of several values, everything else equal."""

from functools import partial
from pathlib import Path
from typing import Any

from latentlab.common.errors import ParamsError, TrainingDiverged
from latentlab.common.files import write_csv
from latentlab.data.image_set import DatasetInfo, stratified_sample
from latentlab.evaluation.latent.projection import tsne
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import load_model
from latentlab.params.comparison import Comparison
from latentlab.params.geometry import Architecture
from latentlab.params.resolve import resolved_params, with_values
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.jobs import job_of, run_and_log_jobs
from latentlab.plots.curves import plot_against_value, plot_overlaid
from latentlab.plots.maps import plot_panels
from latentlab.training.jobs import Job, Outcome

TERM = "validation/mse"
LATENT_DIM = "train.model.latent_dim"
MAPPED = 1000
PERPLEXITY = 30.0


def run(stage: StageContext) -> None:
    """Write a table of the values, their learning curves, and the loss against the value."""
    info = stage.load_info()
    name = stage.member
    comparison = stage.params.compare[name]
    stage.run.log_params({"compare": {name: comparison.tree()}})
    outcomes = run_and_log_jobs(stage, _jobs(stage, comparison, info))

    title = f"{name.replace('_', ' ')}: autoencoders on {info.name}"
    if all(outcome.error for outcome in outcomes):
        raise TrainingDiverged(f"every value failed, the first: {outcomes[0].error}")
    histories = {outcome.name: outcome.history for outcome in outcomes if outcome.history}
    ylabel = "validation MSE per pixel"
    plot_overlaid(stage.plots / "curves.png", histories, TERM, ylabel, title)
    if comparison.numeric:
        best = {float(each.name): each.best[TERM] for each in outcomes if each.history}
        xlabel = str(comparison.parameter)
        plot_against_value(stage.plots / "values.png", best, xlabel, ylabel, title)
    if comparison.parameter == LATENT_DIM:
        _plot_codes(stage, info, outcomes)
    write_csv(stage.output / "table.csv", [_row(outcome) for outcome in outcomes])
    stage.run.log_files(stage.output / "table.csv")
    stage.write_metrics({outcome.name: _figures(outcome) for outcome in outcomes})


def _jobs(stage: StageContext, comparison: Comparison, info: DatasetInfo) -> list[Job]:
    base = resolved_params(stage.project, stage.params)
    labels = stage.load_split("train").labels
    images = comparison.max_train_images or len(labels)
    chosen = stratified_sample(labels, images, stage.seed) if images < len(labels) else None
    jobs = []
    for number, (variant, values) in enumerate(comparison.variants.items()):
        try:
            settings = with_values(base, {"train.epochs": comparison.epochs} | values).train
            architecture = Architecture.of(settings.model, info)
            architecture.convolutions()
        except ValueError as impossible:  # with what the search found
            raise ParamsError(f"{stage.name}, {variant}: {impossible}") from None
        jobs.append(
            job_of(
                stage,
                variant,
                str(number),
                settings,
                partial(Autoencoder, architecture),
                train_indices=chosen,
                model_dir=_kept(stage, variant) if comparison.parameter == LATENT_DIM else None,
            )
        )
    return jobs


def _kept(stage: StageContext, variant: str) -> Path:
    """Where a network is until it was looked at; it goes with the checkpoints."""
    return stage.checkpoints / "model" / variant


def _plot_codes(stage: StageContext, info: DatasetInfo, outcomes: list[Outcome]) -> None:
    """A map of the codes of the same validation images for each latent dimension."""
    validation = stage.load_split("validation")
    seen = validation.sample(MAPPED, stage.seed)
    maps = {}
    for outcome in outcomes:
        if outcome.error is None:
            model = load_model(Autoencoder, _kept(stage, outcome.name))
            codes = apply_in_batches(model.encode, in_batches(seen)).numpy()
            dimensions = codes.shape[1]
            if dimensions == 2:
                maps["2 dimensions"] = codes, "code"
            else:
                points = tsne(codes, 2, PERPLEXITY, stage.seed)
                maps[f"{dimensions} dimensions, t-SNE"] = points, "t-SNE"
    title = f"codes of {len(seen):,} of {len(validation):,} validation images of {info.name}"
    target = stage.plots / "maps.png"
    plot_panels(target, maps, seen.labels.numpy(), info.classes, title)


def _figures(outcome: Outcome) -> dict[str, Any]:
    figures: dict[str, Any] = {"epochs": len(outcome.history), "parameters": outcome.parameters}
    if outcome.history:
        final = outcome.history[-1][TERM]
        figures["validation"] = {"mse": outcome.best[TERM], "final_mse": final}
    if outcome.sparsity:
        figures["sparsity"] = outcome.sparsity
    return figures


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "value": outcome.name,
        "best_mse": outcome.best[TERM] if outcome.history else "",
        "final_mse": outcome.history[-1][TERM] if outcome.history else "",
        "best_epoch": outcome.best_epoch,
        "epochs": len(outcome.history),
        "parameters": outcome.parameters,
        "sparsity": outcome.sparsity,
        "fault": outcome.error or "",
    }
