"""compare: train the autoencoder once for each of several values, with all else equal."""

import statistics
from functools import partial
from pathlib import Path
from typing import Any

from latentlab.common.errors import ParamsError, TrainingDiverged
from latentlab.data.image_set import DatasetInfo, stratified_sample
from latentlab.evaluation.latent.clusters import find_clusters
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

METRIC = "validation/mse"
LATENT_DIM = "train.model.latent_dim"
MAP_IMAGES = 1000
PERPLEXITY = 30.0


def run(stage: StageContext) -> None:
    """Write a table of the variants, their learning curves, and the loss against the value."""
    info = stage.load_info()
    name = stage.member
    comparison = stage.params.compare[name]
    stage.run.log_params({"compare": {name: comparison.tree()}})
    leaf = comparison.parameter and comparison.parameter.rpartition(".")[2]
    outcomes = run_and_log_jobs(
        stage,
        "compared value",
        _jobs(stage, comparison, info),
        run_name=f"{leaf}={{}}" if leaf else "{}",
    )
    if all(outcome.error for outcome in outcomes):
        raise TrainingDiverged(f"every training failed; the first one: {outcomes[0].error}")
    by_variant = {
        variant: outcomes[number * comparison.seeds : (number + 1) * comparison.seeds]
        for number, variant in enumerate(comparison.variants)
    }
    _plot(stage, comparison, info, by_variant)
    stage.write_table("table.csv", [_row(name, group) for name, group in by_variant.items()])
    stage.write_metrics({name: _metrics(group) for name, group in by_variant.items()})


def _jobs(stage: StageContext, comparison: Comparison, info: DatasetInfo) -> list[Job]:
    """Return the trainings of each variant, one per seed, in the order of the variants.

    Raises ParamsError if a variant is impossible.
    """
    base = resolved_params(stage.project, stage.params)
    labels = stage.load_split("train").labels
    count = comparison.max_train_images or len(labels)
    indices = stratified_sample(labels, count, stage.seed) if count < len(labels) else None
    jobs = []
    for number, (variant, values) in enumerate(comparison.variants.items()):
        try:
            settings = with_values(base, {"train.epochs": comparison.epochs} | values).train
            architecture = Architecture.of(settings.model, info)
            architecture.convolutions()
        except ValueError as error:  # a variant may be valid only with other search results
            raise ParamsError(f"{stage.name}, {variant}: {error}") from None
        params = {"train": settings.tree(), "train_images": min(count, len(labels))}
        for repetition in range(comparison.seeds):
            first = repetition == 0
            keep_model = first and comparison.parameter == LATENT_DIM
            jobs.append(
                job_of(
                    stage,
                    variant if first else f"{variant}, seed {stage.seed + repetition}",
                    str(number) if first else f"{number}-{repetition}",
                    settings,
                    partial(Autoencoder, architecture),
                    params=params,
                    train_indices=indices,
                    model_dir=_model_dir(stage, variant) if keep_model else None,
                    seed=stage.seed + repetition,
                )
            )
    return jobs


def _model_dir(stage: StageContext, variant: str) -> Path:
    """Return the temporary folder of a model, which is deleted with the checkpoints."""
    return stage.checkpoints / "model" / variant


def _plot(
    stage: StageContext,
    comparison: Comparison,
    info: DatasetInfo,
    by_variant: dict[str, list[Outcome]],
) -> None:
    """Draw the best loss against a numeric value, and learning curves and maps of one seed."""
    outcomes = [group[0] for group in by_variant.values()]
    title = f"{stage.member.replace('_', ' ').capitalize()}: autoencoders on {info.name}"
    ylabel = "validation MSE per pixel"
    histories = {outcome.name: outcome.history for outcome in outcomes if outcome.history}
    plot_overlaid(stage.plots / "curves.png", histories, METRIC, ylabel, title)
    if comparison.numeric:
        best = {float(name): _best(group) for name, group in by_variant.items() if _best(group)}
        xlabel = str(comparison.parameter)
        plot_against_value(stage.plots / "values.png", best, xlabel, ylabel, title)
    if comparison.parameter == LATENT_DIM:
        _plot_codes(stage, info, outcomes)


def _plot_codes(stage: StageContext, info: DatasetInfo, outcomes: list[Outcome]) -> None:
    """Draw a map of the latent codes of the same validation images for each latent dimension."""
    validation = stage.load_split("validation")
    sample = validation.sample(MAP_IMAGES, stage.seed)
    maps, codes_by_size = {}, {}
    for outcome in outcomes:
        if outcome.error is None:
            model = load_model(Autoencoder, _model_dir(stage, outcome.name))
            codes = apply_in_batches(model.encode, in_batches(sample)).numpy()
            dimensions = codes.shape[1]
            codes_by_size[dimensions] = codes
            if dimensions == 2:
                maps["2 dimensions"] = codes, "latent dimension"
            else:
                points = tsne(codes, 2, PERPLEXITY, stage.seed)
                maps[f"{dimensions} dimensions, t-SNE"] = points, "t-SNE"
    title = f"Latent codes of {len(sample):,} of {len(validation):,} validation images, {info.name}"
    target = stage.plots / "maps.png"
    labels, names = sample.labels.numpy(), info.classes
    if not info.labeled and codes_by_size:  # clusters in one latent space, in the colors of all
        largest = max(codes_by_size)
        clusters = find_clusters(codes_by_size[largest], stage.seed)
        labels, names = clusters.assign(codes_by_size[largest]), clusters.names
        title += f"\n(clusters in {largest} dimensions)"
    plot_panels(target, maps, labels, names, title)


def _best(group: list[Outcome]) -> list[float]:
    """Return the lowest loss of each training that finished an epoch."""
    return [outcome.best[METRIC] for outcome in group if outcome.history]


def _final(group: list[Outcome]) -> float:
    """Return the mean loss after the last epoch."""
    return statistics.fmean(each.history[-1][METRIC] for each in group if each.history)


def _metrics(group: list[Outcome]) -> dict[str, Any]:
    """Return the metrics of a variant: means over the seeds, and other values of the first seed."""
    first, best = group[0], _best(group)
    metrics: dict[str, Any] = {"epochs": len(first.history), "parameters": first.parameters}
    if best:
        metrics["validation"] = {"mse": statistics.fmean(best), "final_mse": _final(group)}
    if len(best) > 1:
        metrics["validation"] |= {"mse_std": statistics.stdev(best), "seeds": len(best)}
    if first.sparsity:
        metrics["sparsity"] = first.sparsity
    return metrics


def _row(variant: str, group: list[Outcome]) -> dict[str, Any]:
    first, best = group[0], _best(group)
    return {
        "value": variant,
        "best_mse": statistics.fmean(best) if best else "",
        "std": statistics.stdev(best) if len(best) > 1 else "",
        "final_mse": _final(group) if best else "",
        "best_epoch": first.best_epoch,
        "epochs": len(first.history),
        "parameters": first.parameters,
        "sparsity": first.sparsity,
        "error": next((outcome.error for outcome in group if outcome.error), ""),
    }
