"""search: an Optuna study over the ranges in `search.space`."""

from functools import partial
from typing import Any

from latentlab.data.image_set import DatasetInfo
from latentlab.models.autoencoder import Autoencoder
from latentlab.params.geometry import Architecture
from latentlab.params.schema import Params
from latentlab.params.yaml_io import write_yaml
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.study_run import run_study, trial_params
from latentlab.search.study import Candidate


def run(stage: StageContext) -> None:
    """Write `best_params.yaml`, which `train` reads, and the table and pictures of the trials."""
    info = stage.load_info()
    settings = stage.params.search
    stage.run.log_params({"search": settings.what})
    stage.run.set_tags(settings.where)  # tags may change when it goes on
    make = partial(candidate, stage.params, info)
    found = run_study(stage, "search", settings, make, stage.plots)

    best = found.best
    write_yaml(stage.output / "best_params.yaml", found.values)
    metrics = found.metrics
    if best:
        stage.run.log_params({"best": best.values})
        metrics["best_trial"] = best.number
        for name, result in zip(settings.objectives, best.results, strict=True):
            *parents, leaf = name.split("/")
            (metrics.setdefault(parents[0], {}) if parents else metrics)[leaf] = result
    stage.write_metrics(metrics)


def candidate(params: Params, info: DatasetInfo, values: dict[str, Any]) -> Candidate:
    """The section `train` with the values of a trial, and the budget of one."""
    settings = trial_params(params, "train", params.search.epochs, values).train
    architecture = Architecture.of(settings.model, info)
    architecture.convolutions()
    return Candidate(settings, partial(Autoencoder, architecture))
