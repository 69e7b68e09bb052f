"""A study: trials drawn by Optuna, trained rung by rung side by side, pruned between rungs.

It goes in rounds. In each, a batch of new trials is drawn, every trial that is alive is trained to
its next rung, and then, in an order that their results decide, each is told to Optuna and either
goes on or ends. What is drawn depends on the seed, the number of the trial and the earlier rounds
alone: not on which training ends first, how many there are at a time, or whether the study was
killed between.

A study that was killed is run from the start. What its record knows is not trained again.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn

from latentlab.params.networks import OptimizationParams
from latentlab.params.studies import StudyParams
from latentlab.search.objectives import SIGNS, results_of
from latentlab.search.record import STATES, StudyRecord
from latentlab.search.space import draw, walk_grid
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, Trial
from latentlab.training.jobs import Job, Outcome, outcome_of

Split = tuple[Tensor | None, Tensor | None]
"""Training images to train on and to hold out, as in `Job`."""


@dataclass(frozen=True)
class Candidate:
    """What the values of a trial make: how to train which network."""

    settings: OptimizationParams
    build: Callable[[], nn.Module]


@dataclass(frozen=True)
class Task:
    """What all trials of a study share.

    `candidate` raises ValueError, with the reason, for values that cannot be built. There is a
    training for each of `splits`.
    """

    settings: StudyParams
    candidate: Callable[[dict[str, Any]], Candidate]
    splits: list[Split]
    fetched: Path
    seed: int
    device: str
    checkpoints: Path


@dataclass
class _Live:
    """A trial under way; `rung` is the one that it is trained to next."""

    trial: Trial
    asked: optuna.Trial
    candidate: Candidate | None = None
    rung: int = 0
    over: bool = False


class Study:
    """Runs the trials of a task by an executor, and enters what they reach in a record."""

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
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._view = optuna.create_study(
            directions=list(self._settings.objectives.values()), pruner=_pruner(self._settings)
        )

    @property
    def view(self) -> optuna.Study:
        """The trials so far as Optuna sees them."""
        return self._view

    def trials(self) -> Iterator[Trial]:
        """Run the study; yield each trial as it ends."""
        total = self._settings.trials if self._settings.space else 0
        drawn = 0
        live: list[_Live] = []
        while live or drawn < total:
            batch = range(drawn, min(drawn + self._settings.batch, total))
            live += [self._draw(number) for number in batch]
            drawn += len(batch)
            self._train([each for each in live if not each.over])
            self._decide(live)
            yield from (each.trial for each in live if each.over)
            live = [each for each in live if not each.over]

    def _draw(self, number: int) -> _Live:
        self._view.sampler = _sampler(self._settings, self._task.seed, number)
        if self._settings.sampler == "grid":
            self._view.enqueue_trial(walk_grid(self._settings.space, number, self._task.seed))
        asked = self._view.ask()
        values = draw(asked, self._settings.space)
        live = _Live(Trial(number, values, asked.params), asked)
        if number not in self._record:
            self._forget_checkpoints(number)  # of a record that is not there any more
        self._record.begin(live.trial, asked.distributions)
        try:
            live.candidate = self._task.candidate(values)
        except ValueError as impossible:
            self._end(live, PRUNED, str(impossible))
        return live

    def _train(self, live: list[_Live]) -> None:
        """Train every trial to its rung, except where the record knows what comes of it."""
        waiting: dict[Future, tuple[_Live, Outcome]] = {}
        # the longest first, so that no core waits for one that came last
        for each in sorted(live, key=self._epochs_to_go, reverse=True):
            known = self._record.outcomes(each.trial.number, self._rung(each))
            if known is not None:
                each.trial.outcomes = known
                continue
            before = each.trial.outcomes or [Outcome.before(job) for job in self._jobs(each)]
            each.trial.outcomes = []
            for job, earlier in zip(self._jobs(each), before, strict=True):
                waiting[self._executor.submit(self._work, job)] = each, earlier
        for future in as_completed(waiting):
            each, earlier = waiting[future]
            each.trial.outcomes.append(outcome_of(future, earlier))
            if len(each.trial.outcomes) == len(self._task.splits):
                each.trial.outcomes.sort(key=lambda outcome: outcome.name)
                self._enter(each)

    def _enter(self, each: _Live) -> None:
        """Enter what the trainings of a trial have reached."""
        trial = each.trial
        result = None
        if not any(outcome.fault for outcome in trial.outcomes):
            result = results_of(trial.outcomes, list(self._settings.objectives))[0]
        self._record.reach(trial.number, self._rung(each), trial.outcomes, result)

    def _decide(self, live: list[_Live]) -> None:
        """Tell Optuna what each trial has reached, and ask which of them go on.

        Those that may not are told first, so that those that may compete with all of their round.
        """
        for each in live:
            self._settle(each)
        going = sorted((each for each in live if not each.over), key=self._rank)
        best = self._best_of_each_rung(going)
        for each in sorted(going, key=lambda each: each.trial.number in best):
            if self._pruned(each, each.trial.number in best):
                self._end(each, PRUNED, f"not among the best after {self._rung(each)} epochs")
            else:
                each.rung += 1

    def _best_of_each_rung(self, going: list[_Live]) -> set[int]:
        """The numbers of the trials that may go on, of trials in the order of their results.

        By successive halving no more than 1/`reduction` of those that reached a rung together, and
        at least one: where the sampler learns, most new trials are among the best so far, which is
        all that Optuna asks for. By other rules any.
        """
        reduction = self._settings.reduction if self._settings.pruner == "halving" else 1
        reached = Counter(each.rung for each in going)
        room = {rung: max(1, count // reduction) for rung, count in reached.items()}
        chosen = set()
        for each in going:
            if room[each.rung] > 0:
                room[each.rung] -= 1
                chosen.add(each.trial.number)
        return chosen

    def _rank(self, each: _Live) -> tuple[float, int]:
        """The better the first result, the lower."""
        sign = SIGNS[next(iter(self._settings.objectives.values()))]
        return sign * each.trial.results[0], each.trial.number

    def _settle(self, each: _Live) -> None:
        """Note the results of a trial; end it where it failed, or where its training is over."""
        if each.over:
            return
        faults = [outcome.fault for outcome in each.trial.outcomes if outcome.fault]
        if faults:
            self._end(each, FAILED, faults[0])
            return
        each.trial.results = results_of(each.trial.outcomes, list(self._settings.objectives))
        if all(outcome.over for outcome in each.trial.outcomes):
            self._end(each, COMPLETE)

    def _pruned(self, each: _Live, may: bool) -> bool:
        """What was decided in an earlier run stands, when fewer trials may have been there.

        Else Optuna decides of those that may.
        """
        number = each.trial.number
        if self._settings.pruner == "none":
            return False
        each.asked.report(each.trial.results[0], self._rung(each))
        pruned = each.asked.should_prune() or not may
        if self._record.outcomes(number, self._settings.rungs[each.rung + 1]) is not None:
            return False
        return pruned or self._record.ended(number) is not None

    def _end(self, each: _Live, state: str, reason: str = "") -> None:
        each.over = True
        each.trial.state, each.trial.reason = state, reason
        results = each.trial.results if state == COMPLETE else None
        self._view.tell(each.asked, results, STATES[state])
        self._record.end(each.trial)
        self._forget_checkpoints(each.trial.number)

    def _forget_checkpoints(self, number: int) -> None:
        """Delete what a trial left, half a file of a killed worker included."""
        for path in self._task.checkpoints.glob(f"*trial-{number}-*"):
            path.unlink(missing_ok=True)

    def _jobs(self, each: _Live) -> Iterator[Job]:
        assert each.candidate is not None
        for part, (train_indices, held_out) in enumerate(self._task.splits):
            yield Job(
                name=f"trial {each.trial.number}, part {part:02}",
                build=each.candidate.build,
                settings=each.candidate.settings,
                fetched=self._task.fetched,
                seed=self._task.seed,
                device=self._task.device,
                checkpoint=self._checkpoint(each.trial.number, part),
                train_indices=train_indices,
                held_out=held_out,
                until=self._rung(each),
                figures=tuple(f for f in self._settings.objectives if "/" not in f),
            )

    def _checkpoint(self, number: int, part: int) -> Path:
        kind = torch.device(self._task.device).type  # its random state is of no use to another
        return self._task.checkpoints / f"trial-{number}-{part}-{kind}.pt"

    def _rung(self, each: _Live) -> int:
        """The epochs of its next rung."""
        return self._settings.rungs[each.rung]

    def _epochs_to_go(self, each: _Live) -> int:
        return self._rung(each) - (self._settings.rungs[each.rung - 1] if each.rung else 0)


def _pruner(settings: StudyParams) -> optuna.pruners.BasePruner:
    if settings.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=settings.first_rung, reduction_factor=settings.reduction
        )
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner()
    return optuna.pruners.NopPruner()


def _sampler(settings: StudyParams, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """A sampler with a seed of its own for each trial, so that a resumed study draws the same."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if settings.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=own)
    if settings.sampler == "cma-es":
        with warnings.catch_warnings():
            # of an option that Optuna calls experimental; without it the few that were not pruned
            # would be all that it learns from
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.CmaEsSampler(
                seed=own,
                warn_independent_sampling=False,
                consider_pruned_trials=settings.pruner != "none",
            )
    return optuna.samplers.RandomSampler(seed=own)
