"""finetune: a classifier on the trained encoder, its head searched where `search` says so."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from latentlab.data.image_set import DatasetInfo
from latentlab.errors import ParamsError
from latentlab.models.classifier import classifier_on
from latentlab.networks.size import count_parameters
from latentlab.params.classification import FinetuneParams
from latentlab.params.schema import Params
from latentlab.params.values import with_values
from latentlab.params.yaml_files import write_yaml
from latentlab.search.study import Candidate
from latentlab.stages.classification import write_classifier
from latentlab.stages.follow import checkpoint_of, follow
from latentlab.stages.labels import judge_control, judge_label_budgets
from latentlab.stages.stage import Stage
from latentlab.stages.study import Found, run_study, trial_params, write_trials
from latentlab.training.loop import Training


def run(stage: Stage) -> None:
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
    follow(stage, training)
    model = training.restore_best().cpu()

    kind = "frozen" if settings.freeze_encoder else "fine-tuned"
    called = f"classifier on the {kind} encoder"
    metrics = write_classifier(stage, model, training, validation, info, called)
    metrics["trained_parameters"] = count_parameters(model, trained_only=True)
    if found.trials:
        metrics["search"] = found.metrics
    if settings.control:
        metrics["control"] = judge_control(stage, info, settings, training.history)
    if few := judge_label_budgets(stage, info, settings):
        metrics["labels"] = few
    stage.write_metrics(metrics)


def candidate(
    params: Params, trained: Path, info: DatasetInfo, values: dict[str, Any]
) -> Candidate:
    """The section `finetune` with the values of a trial, and the budget of one."""
    assert params.finetune.search is not None
    epochs = params.finetune.search.epochs
    settings = trial_params(params, "finetune", epochs, values).finetune
    return Candidate(settings, partial(classifier_on, trained, settings, len(info.classes)))


def _search(stage: Stage, info: DatasetInfo) -> tuple[FinetuneParams, Found]:
    """The settings, with what a study found where there is one."""
    study = stage.params.finetune.search
    if study is None:
        found = Found([], None)
        write_trials(stage, found, None)
        return stage.params.finetune, found
    trained = stage.project.outputs("train") / "model"
    make = partial(candidate, stage.params, trained, info)
    found = run_study(stage, "finetune.search", study, make, stage.plots / "search")
    try:
        return with_values(stage.params, found.values).finetune, found
    except ValueError as unfit:  # with the budget of the training, which is not that of a trial
        raise ParamsError(f"what finetune.search found does not fit: {unfit}") from None
