"""What a study promises: the same trials however it is run, and nothing trained for nothing."""

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
    """A record without trials; its tables take a while to be laid out."""
    return StudyRecord(tmp_path_factory.mktemp("record"), ["minimize"]).path


@pytest.fixture(scope="module")
def task(params, data_dir, empty_record, tmp_path_factory):
    """A task like `params` but for the changes; each has a folder of its own."""

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
    """Its trials, in the order of their numbers."""
    study = study_of(task, executor, work, similar)
    return sorted(study.trials(), key=lambda trial: trial.number)


def made_up(landscape, job):
    """Learning curves without learning; which is ahead changes from epoch to epoch."""
    random = np.random.default_rng([landscape, int(job.settings.learning_rate * 1e9)])
    losses = random.random(job.settings.epochs)[: job.stop_epoch]
    history = [
        {"epoch": epoch, "validation/mse": loss, "validation/loss": loss}
        for epoch, loss in enumerate(losses.tolist(), 1)
    ]
    over = job.stop_epoch == job.settings.epochs
    return Outcome(job.name, history, job.stop_epoch, 0, 0.0, 0.0, None, over)


KNOWN = {}


def remembered(job):
    """A job, done once for all tests of what is made of outcomes."""
    what = pickle.dumps(dataclasses.replace(job, name="", checkpoint=None))
    if what not in KNOWN:
        KNOWN[what] = run_job(dataclasses.replace(job, checkpoint=None))
    return dataclasses.replace(KNOWN[what], name=job.name)


def timeless(trials):
    """Everything that is known of trials but how long they took."""
    return [
        dataclasses.replace(
            trial, outcomes=[dataclasses.replace(each, seconds=0.0) for each in trial.outcomes]
        )
        for trial in trials
    ]


def entries(task):
    """What the record has of each trial, but for times."""
    path = task.checkpoints.parent / "study.db"
    with opened_by_optuna(path) as study:
        trials = study.get_trials()
    found = []
    for trial in trials:
        attributes = dict(trial.user_attrs)
        for name in attributes:
            if name.startswith("epoch "):
                attributes[name] = [outcome | {"seconds": 0.0} for outcome in attributes[name]]
        known = (trial.number, trial.state.name, trial.params, trial.values)
        found.append((*known, trial.intermediate_values, attributes))
    return found


@pytest.fixture(scope="module")
def undisturbed(task):
    """What `params` give."""
    return timeless(run(task()))


@pytest.fixture
def trained(monkeypatch):
    """The epochs that really were trained, in their order."""
    epochs = []
    train_epoch = Training.train_epoch

    def count(training, epoch):
        terms = train_epoch(training, epoch)
        epochs.append(epoch)
        return terms

    monkeypatch.setattr(Training, "train_epoch", count)
    return epochs


def value_at(trial, epochs):
    """What a trial is judged by after so many epochs: the figure of the weights it would keep."""
    return min((r["validation/loss"], r["validation/mse"]) for r in trial.history[:epochs])[1]


def test_trials_draw_from_every_range(undisturbed):
    trials = undisturbed

    assert [trial.number for trial in trials] == list(range(6))
    for trial in trials:
        assert set(trial.values) == set(trial.drawn) == set(SPACE)
        assert trial.values[CHANNELS] in ([4], [4, 8])
        assert 4 <= trial.values[HIDDEN] <= 16
        assert 0.001 <= trial.values[RATE] <= 0.1
        assert trial.results == [value_at(trial, trial.epochs)]
    assert len({trial.values[RATE] for trial in trials}) == 6


def test_the_same_seed_gives_the_same_study_and_another_seed_another(task, undisturbed):
    assert timeless(run(task())) == undisturbed

    other = run(task({"search.trials": 2}, seed=1))
    assert [trial.values for trial in other] != [trial.values for trial in undisturbed[:2]]


def test_every_trial_has_the_seed_of_the_study_so_that_its_values_alone_tell_them_apart(task):
    one_point = {
        name: entry | {"high": entry["low"]} for name, entry in SPACE.items() if "low" in entry
    }
    one_point[CHANNELS] = {"type": "categorical", "choices": [[4]]}

    trials = run(task({"search.space": one_point, **WITHOUT_RUNGS}), work=remembered)

    assert len({trial.results[0] for trial in trials}) == 1


def test_trials_trained_in_two_processes_are_those_trained_in_one(task, undisturbed):
    with processes(2) as executor:
        apart = run(task(), executor, run_job_alone)

    assert timeless(apart) == undisturbed
    assert {trial.state for trial in undisturbed} == {COMPLETE, PRUNED}


def test_the_order_in_which_trainings_end_changes_nothing(task, undisturbed):
    class Backwards(InlineExecutor):
        """Does the work that came last first, when all of a round is there."""

        def __init__(self):
            self.model_dir = []

        def submit(self, fn, /, job):
            self.model_dir.append((Future(), fn, job))
            return self.model_dir[-1][0]

    def work_backwards(waiting):
        while executor.model_dir:
            future, fn, job = executor.model_dir.pop()
            future.set_result(fn(job))
        return list(waiting)[::-1]

    executor = Backwards()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latentlab.search.study.as_completed", work_backwards)
        assert timeless(run(task(), executor)) == undisturbed


def test_an_empty_space_means_no_trials(task):
    assert run(task({"search.space": {}})) == []


def test_a_value_that_is_drawn_does_not_depend_on_what_train_says(task, undisturbed):
    assert timeless(run(task({RATE: 0.5}))) == undisturbed


def test_the_longest_trainings_are_handed_out_first(task):
    handed_out = []

    def note(job):
        handed_out.append((job.name, job.stop_epoch))
        return remembered(job)

    trials = run(task(), work=note)

    second_round = handed_out[3 : 3 + 3 + sum(trial.epochs > 1 for trial in trials[:3])]
    lengths = [1 if until == 1 else until // 2 for _, until in second_round]
    assert lengths == sorted(lengths, reverse=True)


def test_an_architecture_that_cannot_be_built_is_pruned_with_its_reason_and_costs_nothing(
    task, trained
):
    choices = {"type": "categorical", "choices": [[4], IMPOSSIBLE]}
    trials = run(task({"search.space": SPACE | {CHANNELS: choices}}))

    impossible = [trial for trial in trials if trial.values[CHANNELS] == IMPOSSIBLE]
    assert 0 < len(impossible) < 6
    for trial in impossible:
        assert trial.state == PRUNED
        assert "the image vanishes at convolution 4 of 5" in trial.reason
        assert (trial.epochs, trial.parameters, trial.results) == (0, 0, [])
    assert sum(trial.epochs for trial in trials) == len(trained)
    assert best_of(trials, task().settings).values[CHANNELS] == [4]


def test_where_no_architecture_can_be_built_the_search_says_why(task):
    choices = {"type": "categorical", "choices": [IMPOSSIBLE]}
    one = task({"search.space": SPACE | {CHANNELS: choices}})

    trials = run(one, work=remembered)

    assert {trial.state for trial in trials} == {PRUNED}
    with pytest.raises(EnvironmentProblem, match=r"none of 6 trials completed .*vanishes"):
        best_of(trials, one.settings)


def test_a_value_that_no_network_may_have_is_pruned_with_its_reason(task):
    """`batch_norm` with a batch of one: each may be, both may not."""
    batches = {"type": "categorical", "choices": [1]}
    space = SPACE | {"train.batch_size": batches}

    trials = run(task({"search.space": space, "train.model.batch_norm": True}))

    assert {trial.state for trial in trials} == {PRUNED}
    assert "batch_norm needs a batch_size of at least 2" in trials[0].reason


def test_a_trial_that_diverges_fails_and_the_study_goes_on(task):
    rates = {"type": "categorical", "choices": [0.01, 1e30]}
    changes = {"train.optimizer": "sgd", "train.model.output": "linear"}

    trials = run(task({"search.space": SPACE | {RATE: rates}, **changes}))

    wild = [trial for trial in trials if trial.values[RATE] > 1]
    assert 0 < len(wild) < 6
    for trial in wild:
        assert trial.state == FAILED
        assert "the loss is not finite in epoch 1" in trial.reason
        assert trial.results == []
    tame = {trial.state for trial in trials if trial not in wild}
    assert COMPLETE in tame
    assert FAILED not in tame


def test_a_trial_whose_process_is_killed_each_time_fails_and_the_study_goes_on(task, params):
    """As the system does where memory runs out."""

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
        assert trial.state == COMPLETE or "its process was killed 3 times" in trial.reason


def test_a_trial_whose_process_is_killed_later_keeps_what_it_had_reached(task):
    def deadly(job):
        if job.stop_epoch > 1:
            raise Killed("its process was killed 3 times")
        return remembered(job)

    trials = run(task(), work=deadly)

    failed = [trial for trial in trials if trial.state == FAILED]
    assert failed
    assert {(trial.epochs, len(trial.history)) for trial in failed} == {(1, 1)}
    assert all(trial.parameters > 0 for trial in failed)


def test_a_network_that_does_not_fit_into_memory_fails_its_trial_alone(task):
    """A process that the system kills for it does no more."""
    widths = {"type": "categorical", "choices": [8, 10**12]}

    trials = run(task({"search.space": SPACE | {HIDDEN: widths}}))

    huge = [trial for trial in trials if trial.values[HIDDEN] > 8]
    assert 0 < len(huge) < 6
    assert {trial.state for trial in huge} == {FAILED}
    assert COMPLETE in {trial.state for trial in trials}


def test_a_disk_without_room_for_checkpoints_is_a_problem_of_the_environment(task):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def run_without_room(job):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            return run_job(job)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with pytest.raises(EnvironmentProblem):
        run(task(), work=run_without_room)


def test_what_keeps_every_training_from_running_ends_the_study(task, tmp_path):
    with pytest.raises(EnvironmentProblem, match="run `dvc repro fetch` first"):
        run(task(data_dir=tmp_path / "nowhere"))


def test_a_pruned_trial_has_trained_to_its_rung_only_and_a_promoted_one_continues(task, trained):
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


def test_the_seconds_of_a_trial_are_those_of_all_its_rungs(task):
    seconds = {}

    def measure(job):
        outcome = run_job(job)
        seconds.setdefault(job.name, []).append(outcome.seconds)
        return outcome

    trials = run(task(), work=measure)

    assert max(map(len, seconds.values())) > 1
    for trial in trials:
        (outcome,) = trial.outcomes
        of_rungs = seconds[outcome.name]
        assert of_rungs == sorted(of_rungs)
        assert outcome.seconds == of_rungs[-1]


def epochs_by_number(trials):
    return [trial.epochs for trial in trials]


@pytest.mark.parametrize("batch", [4, 12])
def test_halving_lets_the_best_of_all_that_reach_a_rung_go_on(task, batch):
    one = task({"search.trials": 12, "search.batch": batch})

    trials = run(one, work=remembered)

    reached = dict.fromkeys(range(12), 1)
    going = range(12)
    for rung, following in ((1, 2), (2, 4)):
        values = {number: value_at(trials[number], rung) for number in going}
        going = sorted(going, key=lambda number: (values[number], number))[: len(going) // 2]
        reached |= dict.fromkeys(going, following)
    assert epochs_by_number(trials) == list(reached.values())
    assert Counter(epochs_by_number(trials)) == {1: 6, 2: 3, 4: 3}


@pytest.mark.parametrize("trend", [1, -1])
def test_halving_keeps_to_its_share_of_the_epochs_whatever_comes_last(task, trend):
    one = task(
        {"search.trials": 32, "search.batch": 8, "search.reduction_factor": 4, "search.epochs": 16}
    )

    def monotonous(job):
        number = int(job.name.split()[1].rstrip(","))
        outcome = remembered(job)
        loss = 1.0 - trend * number / 100
        history = [record | {"validation/mse": loss} for record in outcome.history]
        return dataclasses.replace(outcome, history=history)

    trials = run(one, work=monotonous)

    # of thirty-two for one epoch, eight go on to four, two of these to sixteen
    expected = [1] * 24 + [4] * 6 + [16] * 2
    assert epochs_by_number(trials) == expected[::trend]


def test_of_the_trials_that_halving_judges_those_that_failed_are_not_counted(task):
    """Of six a half would be three, of the four that are left it is two."""
    one = task({"search.epochs": 2})

    def fail_at_first(job):
        failed = job.name.startswith(("trial 0", "trial 1"))
        return dataclasses.replace(remembered(job), error="it diverged" if failed else None)

    trials = run(one, work=fail_at_first)

    assert Counter(trial.state for trial in trials) == {FAILED: 2, PRUNED: 2, COMPLETE: 2}


def test_a_trial_of_which_it_is_clear_that_it_does_not_go_on_ends_while_others_are_drawn(task):
    one = task({"search.trials": 12, "search.batch": 4, "search.epochs": 2})
    started = []

    def note(job):
        started.append(int(job.name.split()[1].rstrip(",")))
        return remembered(job)

    study = study_of(one, work=note)
    ended = []
    for trial in study.trials():
        ended.append(max(started))
        if max(started) < 11:
            assert study.leader.results[0] < trial.results[0]

    assert Counter(ended) == {7: 2, 11: 10}  # six of twelve may go on, and of eight too
    assert study.leader is None


def test_the_median_pruner_stops_what_is_worse_than_the_median_of_complete_trials(task):
    one = task(
        {
            "search.pruner": "median",
            "search.trials": 12,
            "search.batch": 6,
            "search.epochs": 2,
            "search.sampler": "random",
        }
    )

    trials = run(one, work=remembered)

    # the first six are complete when the others are asked, in the order of their results
    complete = [value_at(trial, 2) for trial in trials[:6]]
    assert epochs_by_number(trials[:6]) == [2] * 6
    for trial in trials[6:]:
        goes_on = value_at(trial, 1) <= statistics.median(complete)
        assert trial.state == (COMPLETE if goes_on else PRUNED)
        assert trial.epochs == 1 + goes_on
    assert 6 < sum(trial.epochs == 2 for trial in trials) < 12


def test_without_a_pruner_every_trial_is_trained_to_the_end_at_once(task):
    untils = []

    def note(job):
        untils.append(job.stop_epoch)
        return remembered(job)

    trials = run(task(WITHOUT_RUNGS), work=note)

    assert {trial.state for trial in trials} == {COMPLETE}
    assert {trial.epochs for trial in trials} == {4}
    assert untils == [4] * 6


def test_a_trial_that_went_through_rungs_has_the_history_of_one_that_did_not(task):
    """Bit for bit, with everything that a training carries from epoch to epoch."""
    carried = {
        "train.model.dropout": 0.2,
        "train.model.batch_norm": True,
        "train.ema_decay": 0.9,
        "train.prune_fraction": 0.2,
        "train.prune_epochs": [2],
        "search.sampler": "random",  # which draws the same, whatever was pruned
        "search.trials": 4,
    }

    in_rungs = run(task(carried))
    at_once = run(task(carried | WITHOUT_RUNGS))

    assert any(trial.epochs == 4 for trial in in_rungs)
    for trial, other in zip(in_rungs, at_once, strict=True):
        assert trial.values == other.values
        assert trial.history == other.history[: trial.epochs]
        if trial.state == COMPLETE:
            assert timeless([trial]) == timeless([other])


def test_a_trial_that_runs_out_of_patience_is_complete(task):
    patience = {"type": "categorical", "choices": [1]}
    impatient = {"search.space": SPACE | {"train.patience": patience}, "train.min_delta": 10.0}

    trials = run(task(impatient), work=remembered)

    complete = [trial for trial in trials if trial.state == COMPLETE]
    assert complete
    assert {trial.epochs for trial in complete} == {2}


@pytest.fixture
def folds():
    images = torch.arange(40)
    return [(images[images % 3 != part], images[images % 3 == part]) for part in range(3)]


def test_with_folds_a_trial_is_judged_by_the_mean_over_their_trainings(task, folds, trained):
    trials = run(task({"search.trials": 4}, splits=folds))

    assert sum(trial.epochs for trial in trials) == len(trained)
    for trial in trials:
        losses = [(o.best_loss, o.best["validation/mse"]) for o in trial.outcomes]
        assert len(set(losses)) == 3
        assert trial.results == [pytest.approx(statistics.mean(mse for _, mse in losses))]
        first = [outcome.history[0]["validation/mse"] for outcome in trial.outcomes]
        assert trial.history[0]["validation/mse"] == pytest.approx(statistics.mean(first))
        assert [outcome.name for outcome in trial.outcomes] == [
            f"trial {trial.number}, part {part:02}" for part in range(3)
        ]


def test_the_training_of_a_fold_has_the_images_of_the_fold(task, folds):
    jobs = []

    def note(job):
        jobs.append(job)
        return remembered(job)

    run(task({"search.trials": 1, **WITHOUT_RUNGS}, splits=folds), work=note)

    for job, (kept, held_out) in zip(jobs, folds, strict=True):
        assert job.train_indices.tolist() == kept.tolist()
        assert job.held_out.tolist() == held_out.tolist()


def test_with_folds_one_divergence_fails_the_trial(task, folds):
    def diverge_in_the_last(job):
        outcome = remembered(job)
        last = job.name == "trial 1, part 02"
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


@pytest.mark.parametrize("sampler", ["tpe", "cma-es"])
def test_a_sampler_that_learns_draws_what_chance_does_not(task, sampler):
    """TPE begins to learn after ten trials, here with the fourth batch."""
    changes = ONE_EPOCH | {"search.space": NUMBERS, "search.trials": 14}

    learned, again, random = (
        run(task(changes | {"search.sampler": name}), work=remembered)
        for name in (sampler, sampler, "random")
    )

    assert timeless(again) == timeless(learned)
    assert learned[0].values == random[0].values
    assert not {str(t.values) for t in learned[12:]} & {str(t.values) for t in random[12:]}


def test_cma_es_learns_from_what_was_pruned(task):
    """A generation is seven trials here; no seven of these are trained to the end."""
    changes = {"search.sampler": "cma-es", "search.space": NUMBERS, "search.trials": 24}

    drawn = [
        [trial.values for trial in run(task(changes), work=partial(made_up, landscape))]
        for landscape in (0, 1)
    ]

    assert drawn[0][:6] == drawn[1][:6]
    assert drawn[0][18:] != drawn[1][18:]


def test_random_draws_do_not_depend_on_results(task):
    changes = {"search.sampler": "random"}

    drawn = [
        [trial.values for trial in run(task(changes | more), work=remembered)]
        for more in ({}, WITHOUT_RUNGS)
    ]

    assert drawn[0] == drawn[1]


def test_cma_es_leaves_choices_to_chance_without_a_word(task):
    changes = ONE_EPOCH | {"search.sampler": "cma-es", "search.space": SPACE}
    said = []
    listener = logging.Handler()
    listener.emit = said.append
    logging.getLogger("optuna").addHandler(listener)

    trials = run(task(changes))

    logging.getLogger("optuna").removeHandler(listener)
    assert {tuple(trial.values[CHANNELS]) for trial in trials} == {(4,), (4, 8)}
    assert [record.getMessage() for record in said] == []


GRID = {
    CHANNELS: SPACE[CHANNELS],
    HIDDEN: {"type": "int", "low": 4, "high": 8, "step": 4},
    RATE: {"type": "float", "low": 0.01, "high": 0.03, "step": 0.01},
}


def points(trials):
    return [tuple(map(str, trial.values.values())) for trial in trials]


def test_a_grid_visits_every_point_once_in_an_order_of_the_seed(task):
    changes = ONE_EPOCH | {"search.sampler": "grid", "search.space": GRID, "search.trials": 12}

    first, second = (points(run(task(changes, seed=seed), work=remembered)) for seed in (0, 1))

    assert len(set(first)) == 12
    assert set(first) == set(second)
    assert first != second


def test_the_last_point_of_a_grid_of_floats_is_drawn_too(task):
    """0.1 + 2 * 0.1 is more than 0.3."""
    rates = {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1}
    changes = {"search.sampler": "grid", "search.space": {RATE: rates}, "search.trials": 3}

    trials = run(task(ONE_EPOCH | changes), work=remembered)

    assert sorted(trial.values[RATE] for trial in trials) == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_a_range_that_its_step_does_not_divide_ends_at_the_last_step(task, sampler):
    hidden = {"type": "int", "low": 4, "high": 9, "step": 4}
    changes = {"search.sampler": sampler, "search.space": {HIDDEN: hidden}, "search.trials": 2}

    trials = run(task(ONE_EPOCH | changes), work=remembered)

    assert {trial.values[HIDDEN] for trial in trials} <= {4, 8}


def test_with_several_objectives_a_trial_has_a_figure_for_each(task):
    """An impossible architecture among them, and trials enough for TPE to learn."""
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

    trials = run(one, work=remembered)

    complete = [trial for trial in trials if trial.state == COMPLETE]
    assert {trial.state for trial in trials} == {COMPLETE, PRUNED}
    for trial in complete:
        mse, parameters, operations = trial.results
        assert mse == value_at(trial, 2)
        assert parameters == trial.parameters > 0
        assert operations > parameters
    assert len({trial.results[1] for trial in complete}) > 2
    assert best_of(trials, one.settings) in complete
    assert timeless(run(task(several), work=remembered)) == timeless(trials)


def test_what_was_measured_is_not_measured_again_where_a_record_has_it(task):
    """The time of a pass differs from run to run, and what was decided by it must stand."""
    latency = {"search.objectives": {"latency": "minimize"}, "search.trials": 3}
    one = task(latency)
    first = timeless(run(one))

    again = timeless(run(one))
    longer = timeless(run(task(latency | {"search.trials": 4}), similar=[one]))

    assert all(trial.results[0] > 0 for trial in first)
    assert again == first
    same = [n for n, trial in enumerate(first) if longer[n].epochs == trial.epochs]
    assert len(same) > 1
    assert [longer[n].outcomes for n in same] == [first[n].outcomes for n in same]


class Kill(BaseException):
    """Like SIGKILL: nothing below a test catches it."""


class Breakage(EnvironmentProblem):
    """Like images that are gone: the error of one job, after which none can go on."""


class Mortal:
    """Does jobs, but the one after the first `jobs`, by which it is ended."""

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


@pytest.mark.parametrize("end", [Kill, Breakage])
def test_a_study_that_was_killed_after_any_job_ends_as_if_it_had_not_been(task, end):
    whole = Mortal(work=remembered)
    untouched = task(SMALL)
    expected = timeless(run(untouched, work=whole))
    assert len(whole.done) > 4

    for jobs in range(len(whole.done)):
        one = task(SMALL)
        dying = Mortal(jobs, end, remembered)
        with pytest.raises(end):
            run(one, work=dying)
        recorded = {
            (outcome["name"], int(name.split()[1]))
            for *_, attributes in entries(one)
            for name, outcomes in attributes.items()
            if name.startswith("epoch ")
            for outcome in outcomes
        }
        again = Mortal(work=remembered)

        assert timeless(run(one, work=again)) == expected, jobs
        assert not recorded & set(again.done), jobs
        assert set(dying.done + again.done) == set(whole.done), jobs
        assert entries(one) == entries(untouched), jobs


def test_a_study_that_was_killed_after_any_job_trains_no_epoch_twice(task, trained):
    """What was trained but not recorded yet lies in checkpoints."""
    whole = Mortal()
    expected = timeless(run(task(SMALL), work=whole))
    needed = len(trained)

    for jobs in range(1, len(whole.done)):
        one = task(SMALL)
        trained.clear()
        with pytest.raises(Kill):
            run(one, work=Mortal(jobs))
        assert timeless(run(one)) == expected, jobs
        assert len(trained) == needed, jobs


def test_a_study_may_be_killed_again_and_again(task, undisturbed, monkeypatch):
    """After every second epoch: no rung here is longer."""
    train_epoch = Training.train_epoch
    left = 0

    def train_and_die(training, epoch):
        nonlocal left
        if left == 0:
            raise Kill
        left -= 1
        return train_epoch(training, epoch)

    monkeypatch.setattr(Training, "train_epoch", train_and_die)
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

    assert trials == undisturbed
    assert kills > 4


def test_a_study_that_was_killed_before_any_write_ends_with_the_same_record(task, tmp_path):
    """A copy of its folder from before each commit is what a kill would have left."""
    untouched = task(SMALL)
    folder = untouched.checkpoints.parent
    copies = []

    def copy(connection):
        copies.append(tmp_path / str(len(copies)))
        shutil.copytree(folder, copies[-1])

    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", copy)
    try:
        expected = timeless(run(untouched, work=remembered))
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "commit", copy)
    wanted = entries(untouched)
    differing = []

    for left in copies:
        one = dataclasses.replace(untouched, checkpoints=left / "checkpoints")
        assert timeless(run(one, work=remembered)) == expected, left
        if entries(one) != wanted:
            differing.append(left.name)
    assert len(copies) > 20
    assert differing == []


def test_a_record_of_a_study_that_went_through_has_every_trial_once_and_none_running(task):
    one = task()
    trials = run(one, work=remembered)

    found = entries(one)

    assert [entry[0] for entry in found] == list(range(6))
    states = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED, "RUNNING": RUNNING}
    assert [states[entry[1]] for entry in found] == [trial.state for trial in trials]


def test_the_study_of_a_record_that_was_moved_away_starts_anew(task, undisturbed):
    """Also where checkpoints of the former study are left, further than the first rung."""
    one = task()
    with pytest.raises(Kill):
        run(one, work=Mortal(len(undisturbed) + 2))
    assert any(one.checkpoints.iterdir())

    (one.checkpoints.parent / "study.db").unlink()

    assert timeless(run(one)) == undisturbed


@pytest.mark.parametrize("trials", [4, 10])
def test_a_study_of_another_length_trains_only_what_the_first_did_not(task, trained, trials):
    """And ends as if there had been no other."""
    other = {"search.trials": trials}
    expected = timeless(run(task(other), work=remembered))
    first = task()
    before = epochs_by_number(run(first, work=remembered))
    trained.clear()
    one = task(other)

    found = run(one, similar=[first])

    assert timeless(found) == expected
    # a trial that goes on from where it ended before has no checkpoint there any more
    lent = [t.number < 6 and t.epochs <= before[t.number] for t in found]
    anew = [t.epochs for t, known in zip(found, lent, strict=True) if not known]
    assert len(trained) == sum(anew)
    assert sum(lent) >= 3
    untouched = task(other)
    run(untouched, work=remembered)
    assert entries(one) == entries(untouched)


def test_a_study_of_another_length_takes_what_a_killed_one_has_trained(task):
    more = {"search.trials": 9}
    expected = timeless(run(task(more), work=remembered))
    first = task()
    with pytest.raises(Kill):
        run(first, work=Mortal(5, work=remembered))
    rest = Mortal(work=remembered)

    assert timeless(run(task(more), work=rest, similar=[first])) == expected
    names = {f"trial {number}, part 00" for number in range(3)}  # of the round that was recorded
    assert not {(name, 1) for name in names} & set(rest.done)


def test_the_checkpoints_of_a_trial_are_deleted_when_it_ends(task):
    one = task()
    over = set()

    for trial in study_of(one).trials():
        over.add(trial.number)
        left = {int(path.stem.split("-")[1]) for path in one.checkpoints.iterdir()}
        assert not left & over

    assert list(one.checkpoints.iterdir()) == []


def test_half_a_checkpoint_that_a_killed_worker_left_is_deleted_too(task):
    one = task()
    half = one.checkpoints / ".trial-0-0.4711.pt"
    with pytest.raises(Kill):
        run(one, work=Mortal(4))
    half.write_bytes(b"PK")

    run(one)

    assert list(one.checkpoints.iterdir()) == []


def test_a_trial_ends_in_the_round_that_decides_it(task, undisturbed):
    """So that whoever follows a study hears of what was pruned at once."""
    ended = [trial.number for trial in study_of(task(), work=remembered).trials()]

    assert sorted(ended) == list(range(6))
    first_round = [trial.number for trial in undisturbed[:3] if trial.epochs == 1]
    assert ended[: len(first_round)] == first_round


def test_importances_are_the_same_for_a_study_that_was_resumed(task):
    one = task({"search.trials": 8})
    found = []
    for _ in range(2):
        study = study_of(one, work=remembered)
        list(study.trials())
        found.append(importances(study.view, one.settings))

    assert found[0] == found[1]
    assert found[0][0]


def test_a_range_that_some_trials_do_not_draw_has_its_part_in_importances(task):
    conditional = {
        "convolutions": {"type": "int", "low": 1, "high": 2},
        CHANNELS: [
            {"type": "int", "low": 2, "high": 6},
            {"type": "int", "low": 2, "high": 6, "when": {"convolutions": 2}},
        ],
    }
    one = task({"search.space": conditional, "search.trials": 12})
    study = study_of(one, work=remembered)
    trials = list(study.trials())

    shares, _ = importances(study.view, one.settings)

    assert 0 < sum(f"{CHANNELS}[1]" in trial.drawn for trial in trials) < len(trials)
    assert {"convolutions", f"{CHANNELS}[0]", f"{CHANNELS}[1]"} == set(shares)
