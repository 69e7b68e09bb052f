"""The driver of a study: samples trials, trains them rung by rung, and prunes between rungs.

A study proceeds in rounds. Each round samples a batch of new trials, trains every active trial to
its next rung, and then promotes each trial, lets it wait, or prunes it, according to its results.
The samples depend only on the seed, the trial number and the results of earlier rounds: not on the
order in which trainings finish, on the number of workers, or on interruptions.
(`optuna.Study.optimize` samples and prunes in the order in which trials finish, which is why the
driver is hand-written.)

A study that was killed is replayed from the beginning; results in the record are not recomputed.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor

from latentlab.models.io import TrainableModel
from latentlab.params.networks import OptimizationParams
from latentlab.params.studies import StudyParams
from latentlab.search.objectives import SIGNS, results_of
from latentlab.search.record import STATES, StudyRecord
from latentlab.search.space import grid_params, suggest_values
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, Trial
from latentlab.training.jobs import Job, Outcome, outcome_of

Split = tuple[Tensor | None, Tensor | None]
"""Indices of the training images to train on, and of those to validate on.

None as the first entry trains on all images; as the second it validates on the validation split.
"""


@dataclass(frozen=True)
class Candidate:
    """The network and training settings that the values of a trial specify."""

    settings: OptimizationParams
    build: Callable[[], TrainableModel]


@dataclass(frozen=True)
class Task:
    """Everything that the trials of a study share.

    `candidate` returns the candidate for the values of a trial; it raises ValueError with the
    reason if the network cannot be built. Each trial trains one network per entry of `splits`.
    """

    settings: StudyParams
    candidate: Callable[[dict[str, Any]], Candidate]
    splits: list[Split]
    data_dir: Path
    seed: int
    device: str
    checkpoints: Path


@dataclass
class _ActiveTrial:
    """A trial that has not ended.

    `rung` is the index of the rung to which it is trained next, or at which it waits for promotion.

    Each trial exists in two Optuna studies: one feeds the sampler (all results at the first rung),
    the other the pruner.
    """

    trial: Trial
    sampler_trial: optuna.Trial
    pruner_trial: optuna.Trial
    candidate: Candidate | None = None
    rung: int = 0
    waiting: bool = False
    ended: bool = False


class Study:
    """The driver of one study: submits trainings to an executor and records their outcomes."""

    def __init__(
        self,
        task: Task,
        record: StudyRecord,
        executor: Executor,
        work: Callable[[Job], Outcome],
    ) -> None:
        self._task = task
        self._settings = task.settings
        self._record = record
        self._executor = executor
        self._work = work
        self._active: list[_ActiveTrial] = []
        self._results_per_rung: Counter[int] = Counter()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = list(self._settings.objectives.values())
        self._sampler_study = optuna.create_study(directions=directions)
        self._pruner_study = optuna.create_study(
            directions=directions, pruner=_pruner(self._settings)
        )

    @property
    def optuna_study(self) -> optuna.Study:
        """The trials so far, with intermediate values and final states."""
        return self._pruner_study

    @property
    def leader(self) -> Trial | None:
        """The best of the trials that wait for promotion, if any."""
        waiting = [active for active in self._active if active.waiting]
        return min(waiting, key=self._sort_key).trial if waiting else None

    def trials(self) -> Iterator[Trial]:
        """Run the study; after each round, yield the trials that ended."""
        total = self._settings.trials if self._settings.space else 0
        sampled = 0
        while self._active or sampled < total:
            batch = range(sampled, min(sampled + self._settings.batch, total))
            self._active += [self._sample(number) for number in batch]
            sampled += len(batch)
            self._train([active for active in self._active if not (active.ended or active.waiting)])
            self._promote_or_prune(more=sampled < total)
            ended = [active.trial for active in self._active if active.ended]
            self._active = [active for active in self._active if not active.ended]
            yield from ended

    def _sample(self, number: int) -> _ActiveTrial:
        """Sample a trial and add it to the record; prune it if its network cannot be built."""
        self._sampler_study.sampler = _sampler(self._settings, self._task.seed, number)
        if self._settings.sampler == "grid":
            self._sampler_study.enqueue_trial(
                grid_params(self._settings.space, number, self._task.seed)
            )
        sampler_trial = self._sampler_study.ask()
        values = suggest_values(sampler_trial, self._settings.space)
        self._pruner_study.enqueue_trial(sampler_trial.params)
        pruner_trial = self._pruner_study.ask()
        suggest_values(pruner_trial, self._settings.space)
        trial = Trial(number, values, sampler_trial.params)
        active = _ActiveTrial(trial, sampler_trial, pruner_trial)
        if number not in self._record:
            self._delete_checkpoints(number)  # left by a study whose record was deleted
        self._record.add_trial(trial, sampler_trial.distributions)
        try:
            active.candidate = self._task.candidate(values)
        except ValueError as error:
            self._sampler_study.tell(sampler_trial, state=STATES[PRUNED])
            self._end(active, PRUNED, str(error))
        return active

    def _train(self, pending: list[_ActiveTrial]) -> None:
        """Train every trial to its rung and record the outcomes.

        Trials are not trained again if this study, or one with another number of trials, has
        recorded the outcomes.
        """
        submitted: dict[Future[Outcome], tuple[_ActiveTrial, Outcome]] = {}
        # longest first, so that no worker starts a long training when the others are done
        for active in sorted(pending, key=self._epochs_to_train, reverse=True):
            recorded = self._record.outcomes(active.trial.number, self._rung_epochs(active))
            if recorded is not None:
                active.trial.outcomes = recorded
                continue
            similar = self._record.similar_outcomes(active.trial, self._rung_epochs(active))
            if similar is not None:
                active.trial.outcomes = similar
                self._record_rung(active)
                continue
            jobs = list(self._jobs(active))
            previous = active.trial.outcomes or [Outcome.before(job) for job in jobs]
            active.trial.outcomes = []
            for job, outcome in zip(jobs, previous, strict=True):
                submitted[self._executor.submit(self._work, job)] = active, outcome
        for future in as_completed(submitted):
            active, outcome = submitted[future]
            active.trial.outcomes.append(outcome_of(future, outcome))
            if len(active.trial.outcomes) == len(self._task.splits):
                active.trial.outcomes.sort(key=lambda outcome: outcome.name)
                self._record_rung(active)

    def _record_rung(self, active: _ActiveTrial) -> None:
        """Add the outcomes of a trial at its current rung to the record."""
        trial = active.trial
        result = None
        if not any(outcome.error for outcome in trial.outcomes):
            result = results_of(trial.outcomes, list(self._settings.objectives))[0]
        self._record.add_rung(trial.number, self._rung_epochs(active), trial.outcomes, result)

    def _promote_or_prune(self, more: bool) -> None:
        """Promote each trial, let it wait, or prune it; `more`: trials remain to be sampled.

        With successive halving, trials wait for promotion until all trials are sampled. Trials that
        are not eligible are reported to Optuna's pruner first, so that it compares the others with
        all results at their rung.
        """
        for active in self._active:
            if not (active.ended or active.waiting):
                self._update_results(active)
        remaining = sorted(
            (active for active in self._active if not active.ended), key=self._sort_key
        )
        eligible = self._eligible(remaining, more)
        for active in sorted(remaining, key=lambda active: active.trial.number in eligible):
            is_eligible = active.trial.number in eligible
            active.waiting = is_eligible and more and self._settings.pruner == "halving"
            if active.waiting:
                continue
            # Both decide: Optuna's halving would promote a trial that is among the best reported
            # so far, which `_eligible` prevents; only Optuna's pruner knows the median rule.
            if self._should_prune(active) or not is_eligible:
                epochs = self._rung_epochs(active)
                self._end(active, PRUNED, f"not among the best after {epochs} epochs")
            else:
                active.rung += 1

    def _eligible(self, ranked: list[_ActiveTrial], more: bool) -> set[int]:
        """Return the numbers of the trials that may be promoted, given trials from best to worst.

        Synchronous successive halving (Jamieson and Talwalkar, 2016,
        https://arxiv.org/abs/1502.07943): 1/`reduction_factor` of the trials with a result at a
        rung, at least one. While `more` trials remain to be sampled, all `trials` are assumed to
        reach the rung. With other pruners every trial is eligible.
        """
        eligible = set()
        free: dict[int, int] = {}
        for active in ranked:
            if self._settings.pruner == "halving":
                count = self._settings.trials if more else self._results_per_rung[active.rung]
                free.setdefault(active.rung, max(1, count // self._settings.reduction_factor))
                free[active.rung] -= 1
            if free.get(active.rung, 0) >= 0:
                eligible.add(active.trial.number)
        return eligible

    def _sort_key(self, active: _ActiveTrial) -> tuple[float, int]:
        """Return a key that sorts trials from best to worst by the first objective."""
        sign = SIGNS[next(iter(self._settings.objectives.values()))]
        return sign * active.trial.results[0], active.trial.number

    def _update_results(self, active: _ActiveTrial) -> None:
        """Compute the results of a trial; end it if it failed or has finished training.

        The sampler learns from the results at the first rung, which all trials reach. If it saw
        final results, it would rank every promoted trial above every pruned one.
        """
        outcomes = active.trial.outcomes
        errors = [outcome.error for outcome in outcomes if outcome.error]
        if not errors:
            active.trial.results = results_of(outcomes, list(self._settings.objectives))
            self._results_per_rung[active.rung] += 1
        if active.rung == 0:
            state = STATES[FAILED if errors else COMPLETE]
            self._sampler_study.tell(active.sampler_trial, active.trial.results or None, state)
        if errors:
            self._end(active, FAILED, errors[0])
        elif all(outcome.finished for outcome in outcomes):
            self._end(active, COMPLETE)

    def _should_prune(self, active: _ActiveTrial) -> bool:
        """Report the result at a rung to Optuna's pruner and return its decision."""
        if self._settings.pruner == "none":
            return False
        active.pruner_trial.report(active.trial.results[0], self._rung_epochs(active))
        return active.pruner_trial.should_prune()

    def _end(self, active: _ActiveTrial, state: str, reason: str = "") -> None:
        active.ended = True
        active.trial.state, active.trial.reason = state, reason
        results = active.trial.results if state == COMPLETE else None
        self._pruner_study.tell(active.pruner_trial, results, STATES[state])
        self._record.end_trial(active.trial)
        self._delete_checkpoints(active.trial.number)

    def _delete_checkpoints(self, number: int) -> None:
        """Delete the checkpoints of a trial, also partial files that a killed worker left."""
        for path in self._task.checkpoints.glob(f"*trial-{number}-*"):
            path.unlink(missing_ok=True)

    def _jobs(self, active: _ActiveTrial) -> Iterator[Job]:
        """Yield the training jobs of a trial up to its rung, one per split."""
        assert active.candidate is not None  # trials without a candidate have ended
        number = active.trial.number
        for split, (train_indices, held_out) in enumerate(self._task.splits):
            yield Job(
                name=f"trial {number}, split {split:02}",
                build=active.candidate.build,
                settings=active.candidate.settings,
                data_dir=self._task.data_dir,
                seed=self._task.seed,
                device=self._task.device,
                checkpoint=self._checkpoint(number, split),
                train_indices=train_indices,
                held_out=held_out,
                stop_epoch=self._rung_epochs(active),
                cost_metrics=tuple(name for name in self._settings.objectives if "/" not in name),
            )

    def _checkpoint(self, number: int, split: int) -> Path:
        # a checkpoint contains the random state of one type of device and cannot resume on another
        device_type = torch.device(self._task.device).type
        return self._task.checkpoints / f"trial-{number}-{split}-{device_type}.pt"

    def _rung_epochs(self, active: _ActiveTrial) -> int:
        """Return the number of epochs of the current rung, counted from the start of training."""
        return self._settings.rungs[active.rung]

    def _epochs_to_train(self, active: _ActiveTrial) -> int:
        """Return the number of epochs between the previous rung and the current one."""
        previous = self._settings.rungs[active.rung - 1] if active.rung else 0
        return self._rung_epochs(active) - previous


def _pruner(settings: StudyParams) -> optuna.pruners.BasePruner:
    if settings.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=settings.min_epochs, reduction_factor=settings.reduction_factor
        )
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner()
    return optuna.pruners.NopPruner()


def _sampler(settings: StudyParams, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial, with its own seed so that a resumed study is identical.

    "grid" gets RandomSampler as a placeholder, because all values of its points are enqueued.
    """
    trial_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if settings.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=trial_seed)
    if settings.sampler == "cma-es":
        return optuna.samplers.CmaEsSampler(seed=trial_seed, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=trial_seed)
