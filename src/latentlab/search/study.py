"""A seeded Optuna study over the ranges in `search.space`.

A trial is the `train` section with a draw from each range of `search.space`, trained on fewer
images for fewer epochs, and judged by its best validation loss.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import optuna
import torch

from latentlab.architecture import Architecture
from latentlab.data.image_set import DatasetInfo, ImageSet, stratified_sample
from latentlab.errors import EnvironmentProblem, TrainingDiverged
from latentlab.models.autoencoder import Autoencoder
from latentlab.params import Choices, FloatRange, IntegerRange, Params, with_values
from latentlab.training.loop import Training
from latentlab.training.record import Record


@dataclass(frozen=True)
class Trial:
    """One finished trial: `state` is "complete", "pruned" or "failed", with the reason."""

    number: int
    state: str
    reason: str
    values: dict[str, Any]
    validation_loss: float
    history: list[Record]


def run_study(
    params: Params,
    info: DatasetInfo,
    train: ImageSet,
    validation: ImageSet,
    device: torch.device,
) -> Iterator[Trial]:
    """Run `search.trials` trials, one after the other; yield each as it ends."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = params.runtime.seed
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(
        direction="minimize",
        sampler=samplers[params.search.sampler](seed=seed),
        # one-cycle schedules say little before their second half
        pruner=optuna.pruners.MedianPruner(4, n_warmup_steps=params.search.epochs // 2),
    )
    train = train.take(stratified_sample(train.labels, params.search.images, seed))
    objective = Objective(params, info, train, validation, device)
    for _ in range(params.search.trials if params.search.space else 0):
        asked = study.ask()
        trial = objective(asked)
        if trial.state == "complete":
            study.tell(asked, trial.validation_loss)
        elif trial.state == "pruned":
            study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        yield trial


@dataclass(frozen=True)
class Objective:
    """Trains one trial; the same values give the same result whatever was tried before."""

    params: Params
    info: DatasetInfo
    train: ImageSet
    validation: ImageSet
    device: torch.device

    def __call__(self, asked: optuna.Trial) -> Trial:
        """Train one trial as far as the pruner lets it."""
        values = {path: draw(asked, path, self.params) for path in self.params.search.space}
        settings = with_values(self.params, values).train
        budget = settings.model_copy(update={"epochs": self.params.search.epochs, "patience": None})
        history: list[Record] = []

        def ended(state: str, reason: str) -> Trial:
            best = min((record["validation/loss"] for record in history), default=math.inf)
            return Trial(asked.number, state, reason, values, best, history)

        seed = self.params.runtime.seed
        torch.manual_seed(seed)
        try:
            model = Autoencoder(Architecture.of(settings.model, self.info))
        except ValueError as impossible:
            return ended("pruned", str(impossible))
        training = Training(model, budget, self.train, self.validation, seed, self.device)
        try:
            for record in training.epochs():
                history.append(record)
                asked.report(record["validation/loss"], int(record["epoch"]))
                if asked.should_prune() and len(history) < budget.epochs:
                    return ended("pruned", "worse than the median of earlier trials")
        except TrainingDiverged as diverged:
            return ended("failed", str(diverged))
        return ended("complete", "")


def draw(asked: optuna.Trial, path: str, params: Params) -> Any:
    """One value from the range of `path`."""
    match params.search.space[path]:
        case IntegerRange(low=low, high=high, log=log):
            return asked.suggest_int(path, low, high, log=log)
        case FloatRange(low=low, high=high, log=log):
            return asked.suggest_float(path, low, high, log=log)
        case Choices(choices=choices):
            # Optuna takes scalars only, and a choice may be a list
            return json.loads(asked.suggest_categorical(path, [json.dumps(c) for c in choices]))


def best_of(trials: list[Trial]) -> Trial:
    """The complete trial with the lowest validation loss."""
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        reasons = "; ".join(sorted({trial.reason for trial in trials}))
        raise EnvironmentProblem(
            f"search: none of {len(trials)} trials completed ({reasons}); mend search.space"
        )
    return min(complete, key=lambda trial: (trial.validation_loss, trial.number))
