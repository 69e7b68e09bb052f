"""finetune: a classifier on the trained encoder, its head searched where `search` says so."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from latentlab.common.errors import ParamsError
from latentlab.data.image_set import DatasetInfo
from latentlab.models.classifier import classifier_on
from latentlab.models.cost import count_parameters
from latentlab.params.classification import FinetuneParams
from latentlab.params.resolve import with_values
from latentlab.params.schema import Params
from latentlab.params.yaml_io import write_yaml
from latentlab.pipeline.classifier_outputs import write_classifier
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.study_run import StudyResult, run_study, trial_params, write_trials
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.search.study import Candidate
from latentlab.stages.finetune.label_efficiency import (
    evaluate_label_efficiency,
    train_scratch_baseline,
)
from latentlab.training.loop import Training


def run(stage: StageContext) -> None:
    """Write the classifier, its learning curves and its confusion on validation images."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings, found = _search(stage, info)
    stage.run.log_params({"finetune": settings.tree()})
    write_yaml(stage.output / "settings.yaml", settings.tree())

    torch.manual_seed(stage.seed)  # whatever a study has drawn in this process
    model = classifier_on(stage.project.outputs("train") / "model", settings, len(info.classes))
    training = Training(
        model, settings, train, validation, stage.seed, stage.device, checkpoint_of(stage)
    )
    run_and_log(stage, training)
    model = training.restore_best().cpu()

    kind = "frozen" if settings.freeze_encoder else "fine-tuned"
    called = f"classifier on the {kind} encoder"
    metrics = write_classifier(stage, model, training, validation, info, called)
    metrics["trained_parameters"] = count_parameters(model, trained_only=True)
    if found.trials:
        metrics["search"] = found.metrics
    if settings.scratch_baseline:
        metrics["scratch_baseline"] = train_scratch_baseline(
            stage, info, settings, training.history
        )
    if few := evaluate_label_efficiency(stage, info, settings):
        metrics["label_efficiency"] = few
    stage.write_metrics(metrics)


def candidate(
    params: Params, trained: Path, info: DatasetInfo, values: dict[str, Any]
) -> Candidate:
    """The section `finetune` with the values of a trial, and the budget of one."""
    assert params.finetune.search is not None
    epochs = params.finetune.search.epochs
    settings = trial_params(params, "finetune", epochs, values).finetune
    return Candidate(settings, partial(classifier_on, trained, settings, len(info.classes)))


def _search(stage: StageContext, info: DatasetInfo) -> tuple[FinetuneParams, StudyResult]:
    """The settings, with what a study found where there is one."""
    study = stage.params.finetune.search
    if study is None:
        found = StudyResult([], None)
        write_trials(stage, found, None)
        return stage.params.finetune, found
    trained = stage.project.outputs("train") / "model"
    make = partial(candidate, stage.params, trained, info)
    found = run_study(stage, "finetune.search", study, make, stage.plots / "search")
    try:
        return with_values(stage.params, found.values).finetune, found
    except ValueError as unfit:  # with the budget of the training, which is not that of a trial
        raise ParamsError(f"what finetune.search found does not fit: {unfit}") from None
