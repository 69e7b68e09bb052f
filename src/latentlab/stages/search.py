"""The stage `search`: an Optuna study of the ranges in `search.space`."""

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
    """Run the study; write `best_params.yaml` for `train`, the table of trials and the plots."""
    info = stage.load_info()
    settings = stage.params.search
    stage.name_run(f"{settings.trials} trials")
    stage.run.log_params({"search": settings.study_settings})
    stage.run.set_tags(settings.execution_settings)  # tags may differ when resumed
    make_candidate = partial(candidate, stage.params, info)
    result = run_study(stage, "search", settings, make_candidate, stage.plots)

    write_yaml(stage.output / "best_params.yaml", result.values)
    metrics = result.metrics
    best = result.best
    if best:
        stage.run.log_params({"best": best.values})
        metrics["best_trial"] = best.number
        for name, value in zip(settings.objectives, best.results, strict=True):
            *parents, leaf = name.split("/")
            (metrics.setdefault(parents[0], {}) if parents else metrics)[leaf] = value
    stage.write_metrics(metrics)


def candidate(params: Params, info: DatasetInfo, values: dict[str, Any]) -> Candidate:
    """Return the autoencoder and settings of `train` with the values and epochs of a trial.

    Raises ValueError with the reason if the network cannot be built.
    """
    settings = trial_params(params, "train", params.search.epochs, values).train
    architecture = Architecture.of(settings.model, info)
    architecture.convolutions()  # raises ValueError
    return Candidate(settings, partial(Autoencoder, architecture))
