"""finetune: a classifier on the trained encoder, with an optional search of its parameters."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from latentlab.common.errors import ParamsError
from latentlab.common.files import write_json
from latentlab.common.progress import note
from latentlab.data.image_set import DatasetInfo
from latentlab.models.classifier import build_classifier
from latentlab.models.cost import count_parameters
from latentlab.models.io import write_not_trained
from latentlab.params.classification import FinetuneParams
from latentlab.params.resolve import with_values
from latentlab.params.schema import Params
from latentlab.params.yaml_io import write_yaml
from latentlab.pipeline.classifier_outputs import write_classifier
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.pictures import Probe
from latentlab.pipeline.review import Review
from latentlab.pipeline.study_run import StudyResult, run_study, trial_params, write_trials
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.search.study import Candidate
from latentlab.stages.finetune.label_efficiency import (
    LABELS_PER_CLASS,
    METHODS,
    evaluate_label_efficiency,
    train_scratch_baseline,
)
from latentlab.training.loop import Training

HISTORY = ("epoch", "train/accuracy", "validation/accuracy")
"""Columns of the learning curves that `dvc.yaml` draws."""


def run(stage: StageContext) -> None:
    """Write the classifier, its learning curves and its confusion matrix on validation images.

    If the parameters say so, also search them first, train the same network from scratch, and
    compare classifiers on few labels. Without class labels, train nothing and write empty tables.
    """
    info = stage.load_info()
    if not info.labeled:
        _skip(stage, info)
        return
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings, study = _search(stage, info)
    method = "frozen" if settings.freeze_encoder else "fine_tuned"
    stage.name_run(METHODS[method])
    stage.run.log_params({"finetune": settings.tree(), "method": method})
    write_yaml(stage.output / "settings.yaml", settings.tree())

    torch.manual_seed(stage.seed)  # independent of random numbers that a study has drawn
    autoencoder_dir = stage.project.outputs("train") / "model"
    model = build_classifier(autoencoder_dir, settings, len(info.classes))
    training = Training(
        model, settings, train, validation, stage.seed, stage.device, checkpoint_of(stage)
    )
    run_and_log(stage, training, Probe.of(validation, stage.seed).predictions)
    model = training.restore_best().cpu()

    encoder = "frozen" if settings.freeze_encoder else "fine-tuned"
    title = f"Classifier on the {encoder} encoder"
    metrics, review = write_classifier(stage, model, training, validation, info, title)
    metrics["trained_parameters"] = count_parameters(model, trained_only=True)
    if study.trials:
        metrics["search"] = study.metrics
    if settings.scratch_baseline:
        metrics["scratch_baseline"] = train_scratch_baseline(
            stage, info, settings, training.history
        )
    if label_efficiency := evaluate_label_efficiency(stage, info, settings):
        metrics["label_efficiency"] = label_efficiency
    stage.write_metrics(metrics, review)


def _skip(stage: StageContext, info: DatasetInfo) -> None:
    """Write all outputs without a classifier, and say why."""
    reason = f"{info.name} has no class labels, which a classifier needs"
    stage.name_run("skipped")
    stage.run.set_tags({"skipped": reason})
    write_not_trained(stage.output / "model", reason)
    write_yaml(stage.output / "settings.yaml", stage.params.finetune.tree())
    write_trials(stage, StudyResult([], None), None)
    stage.write_table("history.csv", [], HISTORY)
    stage.write_table("label_efficiency.csv", [], [LABELS_PER_CLASS, *METHODS])
    for folder in (stage.plots, stage.epoch_pictures):
        folder.mkdir(parents=True, exist_ok=True)  # DVC expects them
    write_json(stage.output / "metrics.json", {"labeled": False})
    write_json(stage.output / "diagnosis.json", Review().tree)
    stage.run.log_files(stage.output / "metrics.json")
    note(f"{stage.name}: skipped, because {reason}")


def candidate(
    params: Params, autoencoder_dir: Path, info: DatasetInfo, values: dict[str, Any]
) -> Candidate:
    """Return the settings and the network of a trial with the given values."""
    assert params.finetune.search is not None
    epochs = params.finetune.search.epochs
    settings = trial_params(params, "finetune", epochs, values).finetune
    return Candidate(
        settings, partial(build_classifier, autoencoder_dir, settings, len(info.classes))
    )


def _search(stage: StageContext, info: DatasetInfo) -> tuple[FinetuneParams, StudyResult]:
    """Return the settings with the values of the best trial, and the result of the study.

    Without a study, the settings are those of `params.yaml` and the result is empty. Raises
    ParamsError if the values are invalid with the number of epochs of the final training.
    """
    study = stage.params.finetune.search
    if study is None:
        result = StudyResult([], None)
        write_trials(stage, result, None)
        return stage.params.finetune, result
    autoencoder_dir = stage.project.outputs("train") / "model"
    make_candidate = partial(candidate, stage.params, autoencoder_dir, info)
    result = run_study(stage, "finetune.search", study, make_candidate, stage.plots / "search")
    try:
        return with_values(stage.params, result.values).finetune, result
    except ValueError as error:
        raise ParamsError(
            f"the best values of finetune.search are invalid for the final training: {error}"
        ) from None
