"""A study gives the same trials however it is executed, and trains no epoch twice."""

import dataclasses
import logging
import pickle
import resource
import shutil
import signal
import statistics
from collections import Counter
from concurrent.futures import Future
from functools import partial
from math import inf

import numpy as np
import pytest
import sqlalchemy
import torch

from crafting import opened_by_optuna, write_random_splits
from latentlab.common.errors import EnvironmentProblem
from latentlab.common.processes import InlineExecutor, Killed, processes
from latentlab.data.image_set import DatasetInfo
from latentlab.params.load import load_params
from latentlab.params.resolve import with_values
from latentlab.search.importance import importances
from latentlab.search.objectives import best_of
from latentlab.search.record import StudyRecord
from latentlab.search.study import Candidate, Study, Task
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, RUNNING
from latentlab.stages.search import candidate
from latentlab.training.jobs import Outcome, run_job, run_job_alone
from latentlab.training.loop import Training

pytestmark = pytest.mark.usefixtures("quick_records")

INFO = DatasetInfo("shapes", ["a", "b"], [1, 8, 8], {}, [0.5], [0.3], {}, "")
CHANNELS = "train.model.channels"
HIDDEN = "train.model.hidden"
RATE = "train.learning_rate"
SPACE = {
    CHANNELS: {"type": "categorical", "choices": [[4], [4, 8]]},
    HIDDEN: {"type": "int", "low": 4, "high": 16},
    RATE: {"type": "float", "low": 0.001, "high": 0.1, "log": True},
}
IMPOSSIBLE = [4, 4, 4, 4, 4]
WITHOUT_RUNGS = {"search.pruner": "none"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetch")
    write_random_splits(folder, train=40, validation=16)
    return folder


@pytest.fixture(scope="module")
def params(repository):
    """Six trials in two batches, with rungs after epochs 1, 2 and 4."""
    return with_values(
        load_params(repository / "params.yaml"),
        {
            "search.trials": 6,
            "search.batch": 3,
            "search.epochs": 4,
            "search.min_epochs": 1,
            "search.reduction_factor": 2,
            "search.space": SPACE,
            CHANNELS: [4],
            HIDDEN: 8,
            RATE: 0.01,
            "train.model.latent_dim": 2,
            "train.optimizer": "adam",
            "train.weight_decay": 0.0,
            "train.batch_size": 16,
        },
    )


@pytest.fixture(scope="module")
def empty_record(tmp_path_factory):
    """A record without trials, to be copied because creating its tables is slow."""
    return StudyRecord(tmp_path_factory.mktemp("record"), ["minimize"]).path


@pytest.fixture(scope="module")
def task(params, data_dir, empty_record, tmp_path_factory):
    """Make a task from `params` with changes, in a folder of its own."""

    def make(changes=(), **more):
        folder = tmp_path_factory.mktemp("study")
        if "search.objectives" not in dict(changes):
            shutil.copy(empty_record, folder)
        changed = with_values(params, dict(changes))
        return Task(
            **{
                "settings": changed.search,
                "candidate": partial(candidate, changed, INFO),
                "splits": [(None, None)],
                "data_dir": data_dir,
                "seed": 0,
                "device": "cpu",
                "checkpoints": folder / "checkpoints",
            }
            | more
        )

    return make


def record_of(task, similar=()):
    directions = list(task.settings.objectives.values())
    folders = [other.checkpoints.parent for other in similar]
    return StudyRecord(task.checkpoints.parent, directions, folders)


def study_of(task, executor=None, work=run_job, similar=()):
    return Study(task, record_of(task, similar), executor or InlineExecutor(), work)


def run(task, executor=None, work=run_job, similar=()):
    """Run the study and return its trials in the order of their numbers."""
    study = study_of(task, executor, work, similar)
    return sorted(study.trials(), key=lambda trial: trial.number)


def random_outcome(landscape, job):
    """A training with random losses, in which the best trial changes from epoch to epoch."""
    random = np.random.default_rng([landscape, int(job.settings.learning_rate * 1e9)])
    losses = random.random(job.settings.epochs)[: job.stop_epoch]
    history = [
        {"epoch": epoch, "validation/mse": loss, "validation/loss": loss}
        for epoch, loss in enumerate(losses.tolist(), 1)
    ]
    finished = job.stop_epoch == job.settings.epochs
    return Outcome(job.name, history, job.stop_epoch, 0, 0.0, 0.0, None, finished)


CACHE = {}


def cached(job):
    """Run a job once for all tests that do not depend on how it is trained."""
    key = pickle.dumps(dataclasses.replace(job, name="", checkpoint=None))
    if key not in CACHE:
        CACHE[key] = run_job(dataclasses.replace(job, checkpoint=None))
    return dataclasses.replace(CACHE[key], name=job.name)


def timeless(trials):
    """Return copies of trials without the duration of their trainings."""
    return [
        dataclasses.replace(
            trial, outcomes=[dataclasses.replace(each, seconds=0.0) for each in trial.outcomes]
        )
        for trial in trials
    ]


def entries(task):
    """The trials in the record, without the duration of trainings."""
    path = task.checkpoints.parent / "study.db"
    with opened_by_optuna(path) as study:
        trials = study.get_trials()
    result = []
    for trial in trials:
        attributes = dict(trial.user_attrs)
        for name in attributes:
            if name.startswith("epoch "):
                times = {"seconds": 0.0, "times": []}
                attributes[name] = [outcome | times for outcome in attributes[name]]
        values = (trial.number, trial.state.name, trial.params, trial.values)
        result.append((*values, trial.intermediate_values, attributes))
    return result


@pytest.fixture(scope="module")
def uninterrupted(task):
    """The trials of `params`."""
    return timeless(run(task()))


@pytest.fixture
def trained(monkeypatch):
    """A list of the epochs that are trained, in their order."""
    epochs = []
    train_epoch = Training.train_epoch

    def count(training, epoch):
        terms = train_epoch(training, epoch)
        epochs.append(epoch)
        return terms

    monkeypatch.setattr(Training, "train_epoch", count)
    return epochs


def value_at(trial, epochs):
    """The result of a trial after a number of epochs: the MSE at its best epoch."""
    return min((r["validation/loss"], r["validation/mse"]) for r in trial.history[:epochs])[1]


def test_trials_have_a_value_from_every_range(uninterrupted):
    trials = uninterrupted

    assert [trial.number for trial in trials] == list(range(6))
    for trial in trials:
        assert set(trial.values) == set(trial.params) == set(SPACE)
        assert trial.values[CHANNELS] in ([4], [4, 8])
        assert 4 <= trial.values[HIDDEN] <= 16
        assert 0.001 <= trial.values[RATE] <= 0.1
        assert trial.results == [value_at(trial, trial.epochs)]
    assert len({trial.values[RATE] for trial in trials}) == 6


def test_the_seed_determines_the_study(task, uninterrupted):
    assert timeless(run(task())) == uninterrupted

    other = run(task({"search.trials": 2}, seed=1))
    assert [trial.values for trial in other] != [trial.values for trial in uninterrupted[:2]]


def test_trials_with_equal_values_have_equal_results(task):
    one_point = {
        name: entry | {"high": entry["low"]} for name, entry in SPACE.items() if "low" in entry
    }
    one_point[CHANNELS] = {"type": "categorical", "choices": [[4]]}

    trials = run(task({"search.space": one_point, **WITHOUT_RUNGS}), work=cached)

    assert len({trial.results[0] for trial in trials}) == 1


def test_two_processes_give_the_same_trials_as_one(task, uninterrupted):
    with processes(2) as executor:
        parallel = run(task(), executor, run_job_alone)

    assert timeless(parallel) == uninterrupted
    assert {trial.state for trial in uninterrupted} == {COMPLETE, PRUNED}


def test_the_order_in_which_trainings_finish_changes_nothing(task, uninterrupted):
    class DeferredExecutor(InlineExecutor):
        """Collects the work of a round."""

        def __init__(self):
            self.pending = []

        def submit(self, fn, /, job):
            self.pending.append((Future(), fn, job))
            return self.pending[-1][0]

    def complete_in_reverse(futures):
        while executor.pending:
            future, fn, job = executor.pending.pop()
            future.set_result(fn(job))
        return list(futures)[::-1]

    executor = DeferredExecutor()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latentlab.search.study.as_completed", complete_in_reverse)
        assert timeless(run(task(), executor)) == uninterrupted


def test_an_empty_space_has_no_trials(task):
    assert run(task({"search.space": {}})) == []


def test_the_value_of_a_searched_parameter_in_train_is_ignored(task, uninterrupted):
    assert timeless(run(task({RATE: 0.5}))) == uninterrupted


def test_the_longest_trainings_are_submitted_first(task):
    submitted = []

    def log(job):
        submitted.append(job.stop_epoch)
        return cached(job)

    trials = run(task(), work=log)

    second_round = submitted[3 : 3 + 3 + sum(trial.epochs > 1 for trial in trials[:3])]
    lengths = [1 if stop_epoch == 1 else stop_epoch // 2 for stop_epoch in second_round]
    assert lengths == sorted(lengths, reverse=True)


def test_a_network_that_cannot_be_built_is_pruned_without_training(task, trained, message):
    choices = {"type": "categorical", "choices": [[4], IMPOSSIBLE]}
    trials = run(task({"search.space": SPACE | {CHANNELS: choices}}))

    impossible = [trial for trial in trials if trial.values[CHANNELS] == IMPOSSIBLE]
    assert 0 < len(impossible) < 6
    for trial in impossible:
        assert trial.state == PRUNED
        message("search/trial: network cannot be built", trial.reason)
        assert (trial.epochs, trial.parameters, trial.results) == (0, 0, [])
    assert sum(trial.epochs for trial in trials) == len(trained)
    assert best_of(trials, task().settings).values[CHANNELS] == [4]


def test_a_study_without_any_network_that_can_be_built_is_an_error(task, message):
    choices = {"type": "categorical", "choices": [IMPOSSIBLE]}
    one = task({"search.space": SPACE | {CHANNELS: choices}})

    trials = run(one, work=cached)

    assert {trial.state for trial in trials} == {PRUNED}
    with pytest.raises(EnvironmentProblem) as error:
        best_of(trials, one.settings)
    message("search/no network can be built", error.value)


def test_values_that_are_invalid_together_are_pruned(task, message):
    """`batch_norm` with a batch size of 1: each is valid alone."""
    batches = {"type": "categorical", "choices": [1]}
    space = SPACE | {"train.batch_size": batches}

    trials = run(task({"search.space": space, "train.model.batch_norm": True}))

    assert {trial.state for trial in trials} == {PRUNED}
    message("search/trial: invalid values", trials[0].reason)


def test_a_trial_that_diverges_fails_and_the_study_continues(task):
    rates = {"type": "categorical", "choices": [0.01, 1e30]}
    changes = {"train.optimizer": "sgd", "train.model.output": "linear"}

    trials = run(task({"search.space": SPACE | {RATE: rates}, **changes}))

    diverged = [trial for trial in trials if trial.values[RATE] > 1]
    assert 0 < len(diverged) < 6
    for trial in diverged:
        assert trial.state == FAILED
        assert "the loss is not finite in epoch 1" in trial.reason
        assert trial.results == []
    others = {trial.state for trial in trials if trial not in diverged}
    assert COMPLETE in others
    assert FAILED not in others


def test_a_trial_whose_process_is_killed_each_time_fails_and_the_study_continues(
    task, params, message
):
    """As the operating system does when memory runs out."""

    def deadly(values):
        made = candidate(params, INFO, values)
        if values[CHANNELS] == [4]:
            return made
        return Candidate(made.settings, partial(signal.raise_signal, signal.SIGKILL))

    with processes(2) as executor:
        trials = run(task(WITHOUT_RUNGS, candidate=deadly), executor, run_job_alone)

    assert {trial.state for trial in trials} == {COMPLETE, FAILED}
    for trial in trials:
        assert (trial.state == COMPLETE) == (trial.values[CHANNELS] == [4])
        if trial.state == FAILED:
            message("search/trial: process killed", trial.reason)


def test_a_trial_whose_process_is_killed_later_keeps_the_history_of_earlier_rungs(task):
    def deadly(job):
        if job.stop_epoch > 1:
            raise Killed("its process was killed 3 times")
        return cached(job)

    trials = run(task(), work=deadly)

    failed = [trial for trial in trials if trial.state == FAILED]
    assert failed
    assert {(trial.epochs, len(trial.history)) for trial in failed} == {(1, 1)}
    assert all(trial.parameters > 0 for trial in failed)


def test_a_network_that_does_not_fit_into_memory_fails_only_its_trial(task):
    widths = {"type": "categorical", "choices": [8, 10**12]}

    trials = run(task({"search.space": SPACE | {HIDDEN: widths}}))

    huge = [trial for trial in trials if trial.values[HIDDEN] > 8]
    assert 0 < len(huge) < 6
    assert {trial.state for trial in huge} == {FAILED}
    assert COMPLETE in {trial.state for trial in trials}


def test_a_full_disk_ends_the_study_with_an_environment_problem(task):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def run_with_full_disk(job):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            return run_job(job)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with pytest.raises(EnvironmentProblem):
        run(task(), work=run_with_full_disk)


def test_missing_images_end_the_study_with_an_environment_problem(task, tmp_path):
    with pytest.raises(EnvironmentProblem, match="dvc repro fetch"):
        run(task(data_dir=tmp_path / "nowhere"))


def test_a_pruned_trial_stops_at_its_rung_and_a_promoted_one_continues_from_it(task, trained):
    one = task({"search.trials": 9})

    trials = run(one)

    assert {trial.state for trial in trials} == {COMPLETE, PRUNED}
    for trial in trials:
        if trial.state == COMPLETE:
            assert (trial.epochs, trial.reason) == (4, "")
        else:
            assert trial.epochs in (1, 2)
            assert trial.reason == f"not among the best after {trial.epochs} epochs"
    assert len(trained) == sum(trial.epochs for trial in trials)
    assert Counter(trained) == Counter(
        epoch for trial in trials for epoch in range(1, trial.epochs + 1)
    )


def test_the_duration_of_a_trial_includes_all_its_rungs(task):
    seconds = {}

    def measure(job):
        outcome = run_job(job)
        seconds.setdefault(job.name, []).append(outcome.seconds)
        return outcome

    trials = run(task(), work=measure)

    assert max(map(len, seconds.values())) > 1
    for trial in trials:
        (outcome,) = trial.outcomes
        after_rungs = seconds[outcome.name]
        assert after_rungs == sorted(after_rungs)
        assert outcome.seconds == after_rungs[-1]


def epochs_by_number(trials):
    return [trial.epochs for trial in trials]


def test_halving_promotes_the_best_fraction_of_all_trials_at_a_rung(task):
    """Whether they are sampled in batches or all at once."""
    for batch in (4, 12):
        one = task({"search.trials": 12, "search.batch": batch})

        trials = run(one, work=cached)

        expected = dict.fromkeys(range(12), 1)
        promoted = range(12)
        for rung, following in ((1, 2), (2, 4)):
            values = {number: value_at(trials[number], rung) for number in promoted}
            ranked = sorted(promoted, key=lambda number: (values[number], number))
            promoted = ranked[: len(ranked) // 2]
            expected |= dict.fromkeys(promoted, following)
        assert epochs_by_number(trials) == list(expected.values())
        assert Counter(epochs_by_number(trials)) == {1: 6, 2: 3, 4: 3}


def test_halving_keeps_to_its_budget_also_if_later_trials_are_all_better_or_worse(task):
    # of 16 trials with 1 epoch, 4 are promoted to 4 epochs, and one of these to 16
    expected = [1] * 12 + [4] * 3 + [16]
    changes = {"search.trials": 16, "search.batch": 4, "search.reduction_factor": 4}
    for trend in (1, -1):

        def monotonic(job, trend=trend):
            number = int(job.name.split()[1].rstrip(","))
            outcome = cached(job)
            loss = 1.0 - trend * number / 100
            history = [record | {"validation/mse": loss} for record in outcome.history]
            return dataclasses.replace(outcome, history=history)

        trials = run(task(changes | {"search.epochs": 16}), work=monotonic)

        assert epochs_by_number(trials) == expected[::trend]


def test_halving_does_not_count_failed_trials(task):
    """Half of the four trials that did not fail are promoted, not half of six."""
    one = task({"search.epochs": 2})

    def fail_at_first(job):
        failed = job.name.startswith(("trial 0", "trial 1"))
        return dataclasses.replace(cached(job), error="it diverged" if failed else None)

    trials = run(one, work=fail_at_first)

    assert Counter(trial.state for trial in trials) == {FAILED: 2, PRUNED: 2, COMPLETE: 2}


def test_a_trial_that_cannot_be_promoted_any_more_is_pruned_at_once(task):
    one = task({"search.trials": 12, "search.batch": 4, "search.epochs": 2})
    started = []

    def log(job):
        started.append(int(job.name.split()[1].rstrip(",")))
        return cached(job)

    study = study_of(one, work=log)
    ended = []
    for trial in study.trials():
        ended.append(max(started))
        if max(started) < 11:
            assert study.leader.results[0] < trial.results[0]

    assert Counter(ended) == {7: 2, 11: 10}  # 6 trials will be promoted, so 2 of the first 8 end
    assert study.leader is None


def test_the_median_pruner_prunes_trials_below_the_median_of_complete_trials(task):
    one = task(
        {
            "search.pruner": "median",
            "search.trials": 12,
            "search.batch": 6,
            "search.epochs": 2,
            "search.sampler": "random",
        }
    )

    trials = run(one, work=cached)

    # the first six trials are complete when the pruner decides about the others
    complete = [value_at(trial, 1) for trial in trials[:6]]
    assert epochs_by_number(trials[:6]) == [2] * 6
    for trial in trials[6:]:
        promoted = value_at(trial, 1) <= statistics.median(complete)
        assert trial.state == (COMPLETE if promoted else PRUNED)
        assert trial.epochs == 1 + promoted
    assert 6 < sum(trial.epochs == 2 for trial in trials) < 12


def test_without_a_pruner_every_trial_is_trained_to_the_end_in_one_job(task):
    stop_epochs = []

    def log(job):
        stop_epochs.append(job.stop_epoch)
        return cached(job)

    trials = run(task(WITHOUT_RUNGS), work=log)

    assert {trial.state for trial in trials} == {COMPLETE}
    assert {trial.epochs for trial in trials} == {4}
    assert stop_epochs == [4] * 6


def test_a_trial_trained_in_rungs_is_bit_identical_to_one_trained_at_once(task):
    """With every option that has a state from epoch to epoch."""
    stateful = {
        "train.model.dropout": 0.2,
        "train.model.batch_norm": True,
        "train.ema_decay": 0.9,
        "train.prune_fraction": 0.2,
        "train.prune_epochs": [2],
        "search.sampler": "random",  # its samples do not depend on pruning
        "search.trials": 4,
    }

    in_rungs = run(task(stateful))
    at_once = run(task(stateful | WITHOUT_RUNGS))

    assert any(trial.epochs == 4 for trial in in_rungs)
    for trial, other in zip(in_rungs, at_once, strict=True):
        assert trial.values == other.values
        assert trial.history == other.history[: trial.epochs]
        if trial.state == COMPLETE:
            assert timeless([trial]) == timeless([other])


def test_a_trial_that_runs_out_of_patience_is_complete(task):
    patience = {"type": "categorical", "choices": [1]}
    impatient = {"search.space": SPACE | {"train.patience": patience}, "train.min_delta": 10.0}

    trials = run(task(impatient), work=cached)

    complete = [trial for trial in trials if trial.state == COMPLETE]
    assert complete
    assert {trial.epochs for trial in complete} == {2}


@pytest.fixture
def folds():
    images = torch.arange(40)
    return [(images[images % 3 != fold], images[images % 3 == fold]) for fold in range(3)]


def test_with_folds_the_result_of_a_trial_is_the_mean_over_folds(task, folds, trained):
    trials = run(task({"search.trials": 4}, splits=folds))

    assert sum(trial.epochs for trial in trials) == len(trained)
    for trial in trials:
        losses = [(o.best_loss, o.best["validation/mse"]) for o in trial.outcomes]
        assert len(set(losses)) == 3
        assert trial.results == [pytest.approx(statistics.mean(mse for _, mse in losses))]
        first = [outcome.history[0]["validation/mse"] for outcome in trial.outcomes]
        assert trial.history[0]["validation/mse"] == pytest.approx(statistics.mean(first))
        assert [outcome.name for outcome in trial.outcomes] == [
            f"trial {trial.number}, split {split:02}" for split in range(3)
        ]


def test_the_training_of_each_fold_has_its_images(task, folds):
    jobs = []

    def log(job):
        jobs.append(job)
        return cached(job)

    run(task({"search.trials": 1, **WITHOUT_RUNGS}, splits=folds), work=log)

    for job, (train, held_out) in zip(jobs, folds, strict=True):
        assert job.train_indices.tolist() == train.tolist()
        assert job.held_out.tolist() == held_out.tolist()


def test_a_divergence_in_one_fold_fails_the_trial(task, folds):
    def diverge_in_the_last(job):
        outcome = cached(job)
        last = job.name == "trial 1, split 02"
        return dataclasses.replace(outcome, error="it diverged") if last else outcome

    trials = run(task({"search.trials": 3}, splits=folds), work=diverge_in_the_last)

    assert [trial.state == FAILED for trial in trials] == [False, True, False]
    assert trials[1].reason == "it diverged"


NUMBERS = {
    HIDDEN: SPACE[HIDDEN],
    "train.model.latent_dim": {"type": "int", "low": 1, "high": 8},
    RATE: SPACE[RATE],
}
ONE_EPOCH = {"search.epochs": 1, "search.batch": 4}


def test_samplers_that_learn_differ_from_random_search_only_after_the_first_trials(task):
    """TPE starts to learn after ten trials, here with the fourth batch."""
    changes = ONE_EPOCH | {"search.space": NUMBERS, "search.trials": 14}
    random = run(task(changes | {"search.sampler": "random"}), work=cached)
    for sampler in ("tpe", "cma-es"):
        learned, again = (
            run(task(changes | {"search.sampler": sampler}), work=cached) for _ in range(2)
        )

        assert timeless(again) == timeless(learned)
        assert learned[0].values == random[0].values
        assert not {str(t.values) for t in learned[12:]} & {str(t.values) for t in random[12:]}


def test_cma_es_learns_from_pruned_trials(task):
    """A generation has seven trials here, and fewer trials than that are complete."""
    changes = {"search.sampler": "cma-es", "search.space": NUMBERS, "search.trials": 24}

    first, second = (
        [trial.values for trial in run(task(changes), work=partial(random_outcome, landscape))]
        for landscape in (0, 1)
    )

    assert first[:6] == second[:6]
    assert first[18:] != second[18:]


def test_random_samples_do_not_depend_on_results(task):
    changes = {"search.sampler": "random"}

    first, second = (
        [trial.values for trial in run(task(changes | more), work=cached)]
        for more in ({}, WITHOUT_RUNGS)
    )

    assert first == second


def test_cma_es_samples_choices_at_random_without_a_warning(task):
    changes = ONE_EPOCH | {"search.sampler": "cma-es", "search.space": SPACE}
    messages = []
    listener = logging.Handler()
    listener.emit = messages.append
    logging.getLogger("optuna").addHandler(listener)

    trials = run(task(changes))

    logging.getLogger("optuna").removeHandler(listener)
    assert {tuple(trial.values[CHANNELS]) for trial in trials} == {(4,), (4, 8)}
    assert [record.getMessage() for record in messages] == []


GRID = {
    CHANNELS: SPACE[CHANNELS],
    HIDDEN: {"type": "int", "low": 4, "high": 8, "step": 4},
    RATE: {"type": "float", "low": 0.01, "high": 0.03, "step": 0.01},
}


def points(trials):
    return [tuple(map(str, trial.values.values())) for trial in trials]


def test_a_grid_search_visits_every_point_once_in_an_order_that_the_seed_determines(task):
    changes = ONE_EPOCH | {"search.sampler": "grid", "search.space": GRID, "search.trials": 12}

    first, second = (points(run(task(changes, seed=seed), work=cached)) for seed in (0, 1))

    assert len(set(first)) == 12
    assert set(first) == set(second)
    assert first != second


def test_a_grid_search_includes_the_last_point_of_a_range_of_floats(task):
    """In spite of rounding: 0.1 + 2 * 0.1 > 0.3."""
    rates = {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1}
    changes = {"search.sampler": "grid", "search.space": {RATE: rates}, "search.trials": 3}

    trials = run(task(ONE_EPOCH | changes), work=cached)

    assert sorted(trial.values[RATE] for trial in trials) == pytest.approx([0.1, 0.2, 0.3])


def test_a_step_that_does_not_divide_the_range_ends_below_its_limit(task):
    hidden = {"type": "int", "low": 4, "high": 9, "step": 4}
    changes = ONE_EPOCH | {"search.space": {HIDDEN: hidden}, "search.trials": 2}

    for sampler in ("grid", "random"):
        trials = run(task(changes | {"search.sampler": sampler}), work=cached)

        assert {trial.values[HIDDEN] for trial in trials} <= {4, 8}


def test_with_several_objectives_a_trial_has_a_result_for_each(task):
    """With networks that cannot be built, and with enough trials for TPE to learn."""
    choices = {"type": "categorical", "choices": [[4], [4, 8], IMPOSSIBLE]}
    several = {
        "search.objectives": {
            "validation/mse": "minimize",
            "parameters": "maximize",
            "operations": "minimize",
        },
        "search.space": SPACE | {CHANNELS: choices},
        "search.trials": 14,
        "search.batch": 4,
        "search.epochs": 2,
        **WITHOUT_RUNGS,
    }
    one = task(several)

    trials = run(one, work=cached)

    complete = [trial for trial in trials if trial.state == COMPLETE]
    assert {trial.state for trial in trials} == {COMPLETE, PRUNED}
    for trial in complete:
        mse, parameters, operations = trial.results
        assert mse == value_at(trial, 2)
        assert parameters == trial.parameters > 0
        assert operations > parameters
    assert len({trial.results[1] for trial in complete}) > 2
    assert best_of(trials, one.settings) in complete
    assert timeless(run(task(several), work=cached)) == timeless(trials)


LATENCY = {"search.objectives": {"latency": "minimize"}, "search.trials": 3}


def test_a_recorded_latency_is_not_measured_again(task):
    """It differs from run to run, but decisions that are based on it must not change."""
    one = task(LATENCY)
    first = timeless(run(one))

    assert all(trial.results[0] > 0 for trial in first)
    assert timeless(run(one)) == first


def test_a_longer_study_reuses_measured_latencies(task):
    """Without rungs, because a fourth trial changes which of the others are promoted."""
    one = task(LATENCY | WITHOUT_RUNGS)
    first = timeless(run(one))

    longer = run(task(LATENCY | WITHOUT_RUNGS | {"search.trials": 4}), similar=[one])

    assert timeless(longer)[:3] == first


class Kill(BaseException):
    """Stands for SIGKILL: no code under test catches it."""


class Breakage(EnvironmentProblem):
    """Stands for an error that ends the study, such as deleted images."""


class Interrupted:
    """Runs a number of jobs and raises an exception instead of the next one."""

    def __init__(self, jobs=inf, end=Kill, work=run_job):
        self._left = jobs
        self._end = end
        self._work = work
        self.done = []

    def __call__(self, job):
        if self._left == 0:
            raise self._end
        self._left -= 1
        self.done.append((job.name, job.stop_epoch))
        return self._work(job)


SMALL = {"search.trials": 4, "search.batch": 2, "search.epochs": 3, "search.reduction_factor": 3}


def check_resuming_after_any_job(task, exception):
    whole = Interrupted(work=cached)
    complete = task(SMALL)
    expected = timeless(run(complete, work=whole))
    assert len(whole.done) > 4

    for jobs in range(len(whole.done)):
        one = task(SMALL)
        interrupted = Interrupted(jobs, exception, cached)
        with pytest.raises(exception):
            run(one, work=interrupted)
        recorded = {
            (outcome["name"], int(name.split()[1]))
            for *_, attributes in entries(one)
            for name, outcomes in attributes.items()
            if name.startswith("epoch ")
            for outcome in outcomes
        }
        again = Interrupted(work=cached)

        assert timeless(run(one, work=again)) == expected, jobs
        assert not recorded & set(again.done), jobs
        assert set(interrupted.done + again.done) == set(whole.done), jobs
        assert entries(one) == entries(complete), jobs


def test_a_study_that_was_killed_after_any_job_is_resumed_with_identical_results(task):
    check_resuming_after_any_job(task, Kill)


def test_a_study_that_ended_with_an_error_after_any_job_is_resumed_with_identical_results(task):
    check_resuming_after_any_job(task, Breakage)


def test_a_resumed_study_trains_no_epoch_twice(task, trained):
    """Epochs that are not in the record yet are in checkpoints."""
    whole = Interrupted()
    expected = timeless(run(task(SMALL), work=whole))
    needed = len(trained)

    for jobs in range(1, len(whole.done)):
        one = task(SMALL)
        trained.clear()
        with pytest.raises(Kill):
            run(one, work=Interrupted(jobs))
        assert timeless(run(one)) == expected, jobs
        assert len(trained) == needed, jobs


def test_a_study_can_be_killed_repeatedly(task, uninterrupted, monkeypatch):
    """After every second epoch, which is the length of the longest rung."""
    train_epoch = Training.train_epoch
    left = 0

    def train_until_killed(training, epoch):
        nonlocal left
        if left == 0:
            raise Kill
        left -= 1
        return train_epoch(training, epoch)

    monkeypatch.setattr(Training, "train_epoch", train_until_killed)
    one = task()
    trials = None
    kills = 0
    while trials is None:
        left = 2
        try:
            trials = timeless(run(one))
        except Kill:
            kills += 1
        assert kills < 20

    assert trials == uninterrupted
    assert kills > 4


def test_a_study_that_was_killed_before_any_write_ends_with_the_same_record(task, tmp_path):
    """A copy of its folder before a commit is what a kill at this moment would leave."""
    complete = task(SMALL)
    folder = complete.checkpoints.parent
    copies = []

    def copy(connection):
        copies.append(tmp_path / str(len(copies)))
        shutil.copytree(folder, copies[-1])

    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", copy)
    try:
        expected = timeless(run(complete, work=cached))
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "commit", copy)
    wanted = entries(complete)
    differing = []

    for left in copies:
        one = dataclasses.replace(complete, checkpoints=left / "checkpoints")
        assert timeless(run(one, work=cached)) == expected, left
        if entries(one) != wanted:
            differing.append(left.name)
    assert len(copies) > 20
    assert differing == []


def test_the_record_has_every_trial_once_with_its_final_state(task):
    one = task()
    trials = run(one, work=cached)

    recorded = entries(one)

    assert [entry[0] for entry in recorded] == list(range(6))
    states = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED, "RUNNING": RUNNING}
    assert [states[entry[1]] for entry in recorded] == [trial.state for trial in trials]


def test_a_study_whose_record_was_deleted_starts_again(task, uninterrupted):
    """It ignores checkpoints that the deleted study left."""
    one = task()
    with pytest.raises(Kill):
        run(one, work=Interrupted(len(uninterrupted) + 2))
    assert any(one.checkpoints.iterdir())

    (one.checkpoints.parent / "study.db").unlink()

    assert timeless(run(one)) == uninterrupted


def test_a_study_with_another_number_of_trials_reuses_results(task, trained):
    """It trains only the rest, and ends as if there were no other study."""
    for count in (4, 10):
        changes = {"search.trials": count}
        complete = task(changes)
        expected = timeless(run(complete, work=cached))
        first = task()
        before = epochs_by_number(run(first, work=cached))
        trained.clear()
        one = task(changes)

        trials = run(one, similar=[first])

        assert timeless(trials) == expected
        # a trial that is trained for longer starts again, because its checkpoint is deleted
        reused = [t.number < 6 and t.epochs <= before[t.number] for t in trials]
        rest = [t.epochs for t, known in zip(trials, reused, strict=True) if not known]
        assert len(trained) == sum(rest)
        assert sum(reused) >= 3
        assert entries(one) == entries(complete)


def test_a_study_reuses_results_of_a_similar_study_that_was_killed(task):
    more = {"search.trials": 9}
    expected = timeless(run(task(more), work=cached))
    first = task()
    with pytest.raises(Kill):
        run(first, work=Interrupted(5, work=cached))
    rest = Interrupted(work=cached)

    assert timeless(run(task(more), work=rest, similar=[first])) == expected
    names = {f"trial {number}, split 00" for number in range(3)}  # the round in the record
    assert not {(name, 1) for name in names} & set(rest.done)


def test_the_checkpoints_of_a_trial_are_deleted_when_it_ends(task):
    one = task()
    ended = set()

    for trial in study_of(one).trials():
        ended.add(trial.number)
        left = {int(path.stem.split("-")[1]) for path in one.checkpoints.iterdir()}
        assert not left & ended

    assert list(one.checkpoints.iterdir()) == []


def test_a_partial_checkpoint_of_a_killed_worker_is_deleted(task):
    one = task()
    partial_file = one.checkpoints / ".trial-0-0.4711.pt"
    with pytest.raises(Kill):
        run(one, work=Interrupted(4))
    partial_file.write_bytes(b"PK")

    run(one)

    assert list(one.checkpoints.iterdir()) == []


def test_a_pruned_trial_is_yielded_in_the_round_in_which_it_is_pruned(task, uninterrupted):
    ended = [trial.number for trial in study_of(task(), work=cached).trials()]

    assert sorted(ended) == list(range(6))
    first_round = [trial.number for trial in uninterrupted[:3] if trial.epochs == 1]
    assert ended[: len(first_round)] == first_round


def test_a_resumed_study_has_the_same_importances(task):
    one = task({"search.trials": 8})
    results = []
    for _ in range(2):
        study = study_of(one, work=cached)
        list(study.trials())
        results.append(importances(study.optuna_study, one.settings))

    assert results[0] == results[1]
    assert results[0][0]


def test_a_conditional_range_has_an_importance(task):
    conditional = {
        "convolutions": {"type": "int", "low": 1, "high": 2},
        CHANNELS: [
            {"type": "int", "low": 2, "high": 6},
            {"type": "int", "low": 2, "high": 6, "when": {"convolutions": 2}},
        ],
    }
    one = task({"search.space": conditional, "search.trials": 12})
    study = study_of(one, work=cached)
    trials = list(study.trials())

    shares, _ = importances(study.optuna_study, one.settings)

    assert 0 < sum(f"{CHANNELS}[1]" in trial.params for trial in trials) < len(trials)
    assert {"convolutions", f"{CHANNELS}[0]", f"{CHANNELS}[1]"} == set(shares)
