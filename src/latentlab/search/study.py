"""A study: trials drawn by Optuna, trained rung by rung side by side, pruned between rungs.

It goes in rounds. In each, a batch of new trials is drawn, every trial that is to go on is trained
to its next rung, and then, in an order that their results decide, each is told to Optuna and goes
on, waits or ends. What is drawn depends on the seed, the number of the trial and the earlier rounds
alone: not on which training ends first, how many there are at a time, or whether the study was
killed between.

A study that was killed is run from the start. What its record knows is not trained again.
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
    data_dir: Path
    seed: int
    device: str
    checkpoints: Path


@dataclass
class _Live:
    """A trial under way; `rung` is the one that it is trained to next, or has reached and waits at.

    Optuna knows it twice: as what its sampler learns from, and as what its pruner judges.
    """

    trial: Trial
    drawn: optuna.Trial
    judged: optuna.Trial
    candidate: Candidate | None = None
    rung: int = 0
    waits: bool = False
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
        self._live: list[_Live] = []
        self._reached: Counter[int] = Counter()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = list(self._settings.objectives.values())
        self._guide = optuna.create_study(directions=directions)
        self._view = optuna.create_study(directions=directions, pruner=_pruner(self._settings))

    @property
    def view(self) -> optuna.Study:
        """The trials so far as Optuna sees them."""
        return self._view

    @property
    def leader(self) -> Trial | None:
        """The best of the trials that wait to go on."""
        waiting = [each for each in self._live if each.waits]
        return min(waiting, key=self._rank).trial if waiting else None

    def trials(self) -> Iterator[Trial]:
        """Run the study; yield each trial as it ends."""
        total = self._settings.trials if self._settings.space else 0
        drawn = 0
        while self._live or drawn < total:
            batch = range(drawn, min(drawn + self._settings.batch, total))
            self._live += [self._draw(number) for number in batch]
            drawn += len(batch)
            self._train([each for each in self._live if not (each.finished or each.waits)])
            self._decide(more=drawn < total)
            over = [each.trial for each in self._live if each.finished]
            self._live = [each for each in self._live if not each.finished]
            yield from over

    def _draw(self, number: int) -> _Live:
        self._guide.sampler = _sampler(self._settings, self._task.seed, number)
        if self._settings.sampler == "grid":
            self._guide.enqueue_trial(walk_grid(self._settings.space, number, self._task.seed))
        drawn = self._guide.ask()
        values = draw(drawn, self._settings.space)
        self._view.enqueue_trial(drawn.params)
        judged = self._view.ask()
        draw(judged, self._settings.space)
        live = _Live(Trial(number, values, drawn.params), drawn, judged)
        if number not in self._record:
            self._delete_checkpoints(number)  # of a record that is not there any more
        self._record.begin(live.trial, drawn.distributions)
        try:
            live.candidate = self._task.candidate(values)
        except ValueError as impossible:
            self._guide.tell(drawn, state=STATES[PRUNED])
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
            lent = self._record.lent(each.trial, self._rung(each))
            if lent is not None:
                each.trial.outcomes = lent
                self._enter(each)
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
        if not any(outcome.error for outcome in trial.outcomes):
            result = results_of(trial.outcomes, list(self._settings.objectives))[0]
        self._record.reach(trial.number, self._rung(each), trial.outcomes, result)

    def _decide(self, more: bool) -> None:
        """Let each trial that is not over go on, wait until there are no `more` to draw, or end.

        Those that may not go on are told to Optuna first, so that those that may compete with all
        that reached their rung; then Optuna decides.
        """
        for each in self._live:
            if not (each.finished or each.waits):
                self._settle(each)
        going = sorted((each for each in self._live if not each.finished), key=self._rank)
        chosen = self._best_of_each_rung(going, more)
        for each in sorted(going, key=lambda each: each.trial.number in chosen):
            may = each.trial.number in chosen
            each.waits = may and more and self._settings.pruner == "halving"
            if each.waits:
                continue
            if self._pruned(each) or not may:
                self._end(each, PRUNED, f"not among the best after {self._rung(each)} epochs")
            else:
                each.rung += 1

    def _best_of_each_rung(self, going: list[_Live], more: bool) -> set[int]:
        """The numbers of the trials that may go on, of trials in the order of their results.

        By successive halving at most 1/`reduction` of all that reach a rung, and at least one;
        while there are `more` to draw, as many as that may be in the end. By other rules any.
        """
        chosen = set()
        room: dict[int, int] = {}
        for each in going:
            if self._settings.pruner == "halving":
                reached = self._settings.trials if more else self._reached[each.rung]
                room.setdefault(each.rung, max(1, reached // self._settings.reduction_factor))
                room[each.rung] -= 1
            if room.get(each.rung, 0) >= 0:
                chosen.add(each.trial.number)
        return chosen

    def _rank(self, each: _Live) -> tuple[float, int]:
        """The better the first result, the lower."""
        sign = SIGNS[next(iter(self._settings.objectives.values()))]
        return sign * each.trial.results[0], each.trial.number

    def _settle(self, each: _Live) -> None:
        """Note the results of a trial; end it where it failed, or where its training is over.

        The sampler learns from the results at the first rung, which all trials have. Told how they
        end, it would rank all that went on before all that did not.
        """
        faults = [outcome.error for outcome in each.trial.outcomes if outcome.error]
        if not faults:
            each.trial.results = results_of(each.trial.outcomes, list(self._settings.objectives))
            self._reached[each.rung] += 1
        if each.rung == 0:
            state = STATES[FAILED if faults else COMPLETE]
            self._guide.tell(each.drawn, each.trial.results or None, state)
        if faults:
            self._end(each, FAILED, faults[0])
        elif all(outcome.finished for outcome in each.trial.outcomes):
            self._end(each, COMPLETE)

    def _pruned(self, each: _Live) -> bool:
        """What Optuna decides."""
        if self._settings.pruner == "none":
            return False
        each.eval_model.report(each.trial.results[0], self._rung(each))
        return each.eval_model.should_prune()

    def _end(self, each: _Live, state: str, reason: str = "") -> None:
        each.finished = True
        each.trial.state, each.trial.reason = state, reason
        results = each.trial.results if state == COMPLETE else None
        self._view.tell(each.eval_model, results, STATES[state])
        self._record.end(each.trial)
        self._delete_checkpoints(each.trial.number)

    def _delete_checkpoints(self, number: int) -> None:
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
                data_dir=self._task.data_dir,
                seed=self._task.seed,
                device=self._task.device,
                checkpoint=self._checkpoint(each.trial.number, part),
                train_indices=train_indices,
                held_out=held_out,
                stop_epoch=self._rung(each),
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
            min_resource=settings.min_epochs, reduction_factor=settings.reduction_factor
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
        return optuna.samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=own)
