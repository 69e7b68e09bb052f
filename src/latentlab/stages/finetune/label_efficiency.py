"""finetune: comparisons with a network from scratch, with all labels and with few of them."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from latentlab.data.image_set import DatasetInfo
from latentlab.models.classifier import Classifier, build_classifier
from latentlab.params.classification import FinetuneParams, LabelEfficiencyParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.jobs import job_of, mean_and_deviation, run_and_log_all
from latentlab.plots.classification import plot_label_efficiency
from latentlab.plots.curves import plot_history
from latentlab.training.jobs import Job
from latentlab.training.loop import Record

ACCURACY = "validation/accuracy"
LABELS_PER_CLASS = "labels_per_class"
METHODS = {
    "frozen": "frozen encoder",
    "fine_tuned": "fine-tuned encoder",
    "scratch": "from scratch",
}
"""The methods to train a classifier that are compared, with their names in plots."""
OF_THE_STAGE = ("search", "scratch_baseline", "label_efficiency")
"""Parameters of `finetune` that do not concern a single training."""


@dataclass(frozen=True)
class LabeledTraining:
    """One training of the comparison: labels per class, one of `METHODS`, and a seed number."""

    labels_per_class: int | Literal["all"]
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its MLflow run."""
        return f"{self.labels_per_class} labels, {METHODS[self.method]}, seed {self.seed}"

    @property
    def file(self) -> str:
        """The name of its checkpoint."""
        return f"{self.labels_per_class}-{self.method}-{self.seed}"


def train_scratch_baseline(
    stage: StageContext, info: DatasetInfo, settings: FinetuneParams, history: list[Record]
) -> dict[str, Any]:
    """Train the same network from scratch for as many epochs, and return its metrics.

    Draws its accuracy together with that of the fine-tuned network, whose records are `history`.
    """
    baseline = _with_method(settings, "scratch")
    job = job_of(
        stage,
        METHODS["scratch"],
        "scratch",
        baseline,
        _classifier_builder(stage, info, baseline, "scratch"),
        params=_params_of(baseline) | {"method": "scratch"},
    )
    (outcome,) = run_and_log_all(stage, "baseline", [job])
    records = [
        {"epoch": record["epoch"], column: record[ACCURACY]}
        for column, of_network in (("finetuned", history), ("scratch", outcome.history))
        for record in of_network
    ]
    finetuned = METHODS["frozen" if settings.freeze_encoder else "fine_tuned"]
    plot_history(
        stage.plots / "scratch_baseline.png",
        records,
        {"finetuned": finetuned, "scratch": METHODS["scratch"]},
        "validation accuracy",
        f"Classifiers on {info.name}",
    )
    return {"validation": {"accuracy": outcome.best[ACCURACY]}, "epochs": len(outcome.history)}


def evaluate_label_efficiency(
    stage: StageContext, info: DatasetInfo, settings: FinetuneParams
) -> dict[str, Any]:
    """Return mean and standard deviation of the validation accuracy, by label count and method.

    Also draws them and writes `label_efficiency.csv`. Without `settings.label_efficiency` the
    result is empty, and so is the table.
    """
    if settings.label_efficiency is None:
        stage.write_table("label_efficiency.csv", [{LABELS_PER_CLASS: ""}])
        return {}
    trainings = list(_trainings(settings.label_efficiency))
    jobs = [_job(stage, info, settings, settings.label_efficiency, each) for each in trainings]
    outcomes = run_and_log_all(stage, "label budget", jobs)
    accuracies: dict[str, dict[str, list[float]]] = {}
    for training, outcome in zip(trainings, outcomes, strict=True):
        of_methods = accuracies.setdefault(str(training.labels_per_class), {})
        # of the last epoch: choosing the best one would use far more labels for validation
        of_methods.setdefault(training.method, []).append(outcome.history[-1][ACCURACY])
    metrics = {
        labels: {method: mean_and_deviation(values) for method, values in of_methods.items()}
        for labels, of_methods in accuracies.items()
    }
    all_labels = int(stage.load_split("train").labels.bincount().float().mean())
    by_count = {
        all_labels if labels == "all" else int(labels): of_methods
        for labels, of_methods in metrics.items()
    }
    rows = [
        {LABELS_PER_CLASS: count} | {method: of_methods[method]["mean"] for method in METHODS}
        for count, of_methods in by_count.items()
    ]
    stage.write_table("label_efficiency.csv", rows)
    _plot(stage, info, by_count)
    return metrics


def _trainings(settings: LabelEfficiencyParams) -> Iterator[LabeledTraining]:
    for labels_per_class in settings.labels_per_class:
        for method in METHODS:
            for seed in range(settings.seeds):
                yield LabeledTraining(labels_per_class, method, seed)


def _job(
    stage: StageContext,
    info: DatasetInfo,
    settings: FinetuneParams,
    comparison: LabelEfficiencyParams,
    training: LabeledTraining,
) -> Job:
    labels = stage.load_split("train").labels
    seed = stage.seed + training.seed
    indices = None
    if training.labels_per_class != "all":
        indices = sample_per_class(labels, training.labels_per_class, seed)
        indices = repeat_up_to(indices, comparison.images_per_epoch)
    budget = {"epochs": comparison.epochs, "batch_size": comparison.batch_size, "patience": None}
    effective = _with_method(settings, training.method).model_copy(update=budget)
    return job_of(
        stage,
        training.name,
        training.file,
        effective,
        _classifier_builder(stage, info, effective, training.method),
        params=_params_of(effective) | asdict(training),
        train_indices=indices,
        seed=seed,
    )


def _classifier_builder(
    stage: StageContext, info: DatasetInfo, settings: FinetuneParams, method: str
) -> Callable[[], Classifier]:
    """Return a function that builds the network of one of `METHODS`."""
    autoencoder_dir = stage.project.outputs("train") / "model"
    return partial(
        build_classifier,
        autoencoder_dir,
        settings,
        len(info.classes),
        from_scratch=method == "scratch",
    )


def _with_method(settings: FinetuneParams, method: str) -> FinetuneParams:
    """Return the settings of a training with one of `METHODS`."""
    return settings.model_copy(
        update={"freeze_encoder": method == "frozen", "unfreeze_after": None}
    )


def _params_of(settings: FinetuneParams) -> dict[str, Any]:
    """Return the parameters to log: those of the section that concern a single training."""
    tree = settings.tree()
    return {"finetune": {name: tree[name] for name in tree if name not in OF_THE_STAGE}}


def sample_per_class(labels: Tensor, count: int, seed: int) -> Tensor:
    """Return the indices of `count` random images of each class, or of all if there are fewer."""
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels.numpy()[order]
    chosen = [order[shuffled == index][:count] for index in np.unique(shuffled)]
    return torch.from_numpy(np.concatenate(chosen))


def repeat_up_to(indices: Tensor, count: int) -> Tensor:
    """Return the indices [N] repeated up to `count`, or unchanged if there are more.

    All trainings then have equally many steps per epoch.
    """
    return indices[torch.arange(max(count, len(indices))) % len(indices)]


def _plot(
    stage: StageContext, info: DatasetInfo, metrics: dict[int, dict[str, dict[str, float]]]
) -> None:
    curves = {
        title: {
            count: (of_methods[method]["mean"], of_methods[method]["std"])
            for count, of_methods in metrics.items()
        }
        for method, title in METHODS.items()
    }
    target = stage.plots / "label_efficiency.png"
    plot_label_efficiency(target, curves, f"Label efficiency on {info.name}")
