"""How far classifiers come with few labels; a part of finetune."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from latentlab.common.files import write_csv
from latentlab.data.image_set import DatasetInfo
from latentlab.models.classifier import Classifier, classifier_on
from latentlab.params.classification import FinetuneParams, LabelEfficiencyParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.jobs import job_of, mean_and_deviation, run_and_log_all
from latentlab.plots.classification import plot_label_budgets
from latentlab.plots.curves import plot_history
from latentlab.training.jobs import Job, Outcome
from latentlab.training.loop import Record

ACCURACY = "validation/accuracy"
COUNT = "labels_per_class"
WAYS = {"frozen": "frozen encoder", "fine_tuned": "fine-tuned encoder", "scratch": "from scratch"}


@dataclass(frozen=True)
class Attempt:
    """One training: so many labels of each class, one of `WAYS`, the number of a seed."""

    labels_per_class: int | Literal["all"]
    way: str
    seed: int

    @property
    def name(self) -> str:
        """As its run is called."""
        return f"{self.labels_per_class} labels, {WAYS[self.way]}, seed {self.seed}"


def train_scratch_baseline(
    stage: StageContext, info: DatasetInfo, settings: FinetuneParams, history: list[Record]
) -> dict[str, Any]:
    """The same network from scratch, with the same budget; drawn beside `history`."""
    build = _classifier(stage, info, settings, "scratch")
    (outcome,) = run_and_log_all(
        stage, [job_of(stage, WAYS["scratch"], "scratch", settings, build)]
    )
    both = [
        {"epoch": record["epoch"], called: record[ACCURACY]}
        for called, records in (("ours", history), ("control", outcome.history))
        for record in records
    ]
    kind = WAYS["frozen" if settings.freeze_encoder else "fine_tuned"]
    plot_history(
        stage.plots / "scratch_baseline.png",
        both,
        {"ours": kind, "control": WAYS["scratch"]},
        "validation accuracy",
        f"classifiers on {info.name}",
    )
    return {"validation": {"accuracy": outcome.best[ACCURACY]}, "epochs": len(outcome.history)}


def evaluate_label_efficiency(
    stage: StageContext, info: DatasetInfo, settings: FinetuneParams
) -> dict[str, Any]:
    """Mean and standard deviation of the validation accuracy over seeds, for all budgets and ways.

    Also draws them, and writes `label_efficiency.csv`, without a row where there are no budgets.
    """
    if settings.label_efficiency is None:
        write_csv(stage.output / "label_efficiency.csv", [{COUNT: ""}])
        return {}
    attempts = list(_attempts(settings.label_efficiency))
    jobs = [_job(stage, info, settings, settings.label_efficiency, attempt) for attempt in attempts]
    outcomes = run_and_log_all(stage, jobs)
    accuracies: dict[str, dict[str, list[float]]] = {}
    for attempt, outcome in zip(attempts, outcomes, strict=True):
        of_budget = accuracies.setdefault(str(attempt.labels_per_class), {})
        of_budget.setdefault(attempt.way, []).append(_last_accuracy(outcome))
    figures = {
        budget: {way: mean_and_deviation(values) for way, values in ways.items()}
        for budget, ways in accuracies.items()
    }
    most = int(stage.load_split("train").labels.bincount().float().mean())
    counted = {most if budget == "all" else int(budget): of for budget, of in figures.items()}
    rows = [
        {COUNT: count} | {way: ways[way]["mean"] for way in WAYS} for count, ways in counted.items()
    ]
    write_csv(stage.output / "label_efficiency.csv", rows)
    _plot(stage, info, counted)
    return figures


def _attempts(budgets: LabelEfficiencyParams) -> Iterator[Attempt]:
    for per_class in budgets.labels_per_class:
        for way in WAYS:
            for seed in range(budgets.seeds):
                yield Attempt(per_class, way, seed)


def _job(
    stage: StageContext,
    info: DatasetInfo,
    settings: FinetuneParams,
    budgets: LabelEfficiencyParams,
    attempt: Attempt,
) -> Job:
    labels = stage.load_split("train").labels
    seed = stage.seed + attempt.seed
    chosen = None
    if attempt.labels_per_class != "all":
        chosen = repeated(
            labelled(labels, attempt.labels_per_class, seed), budgets.images_per_epoch
        )
    budget = {"epochs": budgets.epochs, "batch_size": budgets.batch_size, "patience": None}
    return job_of(
        stage,
        attempt.name,
        f"{attempt.labels_per_class}-{attempt.way}-{attempt.seed}",
        settings.model_copy(update=budget),
        _classifier(stage, info, settings, attempt.way),
        train_indices=chosen,
        seed=seed,
    )


def _classifier(
    stage: StageContext, info: DatasetInfo, settings: FinetuneParams, way: str
) -> Callable[[], Classifier]:
    """What makes the network of one of `WAYS`."""
    trained = stage.project.outputs("train") / "model"
    frozen = {"freeze_encoder": way == "frozen", "unfreeze_after": None}
    settings = settings.model_copy(update=frozen)
    return partial(classifier_on, trained, settings, len(info.classes), fresh=way == "scratch")


def labelled(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Indices of so many images of each class, all of a class that has no more."""
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels.numpy()[order]
    chosen = [order[shuffled == index][:per_class] for index in np.unique(shuffled)]
    return torch.from_numpy(np.concatenate(chosen))


def repeated(indices: Tensor, count: int) -> Tensor:
    """The indices again and again until there are `count`; all of them where they are more.

    Then few labels are learnt in as many steps as many.
    """
    return indices[torch.arange(max(count, len(indices))) % len(indices)]


def _last_accuracy(outcome: Outcome) -> float:
    """Not the best: with few labels, those of the validation split would be most that is known."""
    return outcome.history[-1][ACCURACY]


def _plot(stage: StageContext, info: DatasetInfo, figures: dict[int, Any]) -> None:
    curves = {
        legend: {count: (ways[way]["mean"], ways[way]["std"]) for count, ways in figures.items()}
        for way, legend in WAYS.items()
    }
    target = stage.plots / "label_efficiency.png"
    plot_label_budgets(target, curves, f"classifiers on few labels of {info.name}")
