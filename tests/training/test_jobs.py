import dataclasses
import time
from functools import partial

import pytest
import torch

from crafting import optimization_settings, write_random_splits
from latentlab.common.processes import processes
from latentlab.data.image_set import load_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.cost import describe_layers
from latentlab.models.io import load_model
from latentlab.params.geometry import Architecture
from latentlab.training import jobs as module
from latentlab.training.jobs import Job, run_job, run_job_alone, run_side_by_side
from latentlab.training.loop import Training


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetch")
    write_random_splits(folder, train=50, validation=20)
    return folder


def architecture(latent_dim=2, **changes):
    return Architecture([1, 8, 8], [4, 8], 16, latent_dim, **{"dropout": 0.1} | changes)


FIELDS = {
    "build",
    "settings",
    "checkpoint",
    "train_indices",
    "held_out",
    "stop_epoch",
    "cost_metrics",
}


def job(data_dir, latent_dim=2, output="sigmoid", seed=0, **changes):
    more = {name: changes.pop(name) for name in FIELDS & set(changes)}
    return Job(
        **{
            "name": str(latent_dim),
            "build": partial(Autoencoder, architecture(latent_dim, output=output)),
            "settings": optimization_settings(**changes),
            "data_dir": data_dir,
            "seed": seed,
            "device": "cpu",
        }
        | more
    )


def diverging(data_dir):
    return job(data_dir, output="linear", optimizer="sgd", learning_rate=1e30)


def without_time(outcome):
    return dataclasses.replace(outcome, seconds=0.0, times=[])


def test_the_outcome_is_that_of_a_training_without_a_job(data_dir):
    one = job(data_dir)
    torch.manual_seed(0)
    model = Autoencoder(architecture())
    splits = load_split(data_dir, "train"), load_split(data_dir, "validation")
    training = Training(model, one.settings, *splits, 0, torch.device("cpu"))
    list(training.epochs())

    outcome = run_job(one)

    assert outcome.history == training.history
    assert outcome.best_epoch == training.best_epoch
    assert outcome.best_loss == training.best_loss
    assert outcome.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert outcome.sparsity == 0.0
    assert outcome.error is None
    assert outcome.finished
    assert outcome.cost == {}


def test_a_job_in_its_own_process_has_one_thread_and_a_bit_identical_outcome(data_dir):
    with processes(1) as executor:
        outcome = executor.submit(run_job_alone, job(data_dir)).result()
        threads = executor.submit(torch.get_num_threads).result()

    assert threads == 1
    assert without_time(outcome) == without_time(run_job(job(data_dir)))


def test_a_job_calls_after_epoch_with_the_evaluated_network_and_knows_when_epochs_ended(data_dir):
    seen = []
    times = [time.time()]

    one = dataclasses.replace(
        job(data_dir, ema_decay=0.9),
        after_epoch=lambda network, epoch: seen.append((network.training, epoch)),
    )
    outcome = run_job(one)

    assert seen == [(False, 1), (False, 2), (False, 3)]
    assert len(outcome.times) == 4
    times += [*outcome.times, time.time()]
    assert times == sorted(times)


def test_a_job_can_train_any_trainable_model(data_dir):
    outcome = run_job(job(data_dir, build=partial(Classifier, architecture(), [6], 2, False)))

    assert "validation/accuracy" in outcome.best
    assert outcome.error is None


def test_outcomes_are_ordered_like_jobs_and_independent_of_the_number_of_workers(
    data_dir, monkeypatch
):
    """The first job takes longest; one of them diverges, and the others finish."""
    jobs = [
        job(data_dir, latent_dim=4, epochs=12, ema_decay=0.9),
        job(data_dir, latent_dim=3, prune_fraction=0.3, prune_epochs=(2,)),
        diverging(data_dir),
        job(data_dir, latent_dim=1),
    ]
    outcomes = []
    for workers in (1, 2):
        monkeypatch.setattr(module, "available_cores", lambda workers=workers: workers)
        outcomes.append([without_time(outcome) for outcome in run_side_by_side(jobs)])

    assert outcomes[0] == outcomes[1]
    assert [outcome.name for outcome in outcomes[0]] == ["4", "3", "2", "1"]
    assert [len(outcome.history) for outcome in outcomes[0]] == [12, 3, 0, 3]
    assert [round(outcome.sparsity, 2) for outcome in outcomes[0]] == [0.0, 0.3, 0.0, 0.0]
    assert [outcome.error is None for outcome in outcomes[0]] == [True, True, False, True]
    assert outcomes[0][3] == without_time(run_job(jobs[3]))


def test_a_job_that_runs_out_of_memory_does_not_affect_other_jobs(data_dir):
    huge = partial(torch.empty, 10**15)

    failed, other = run_side_by_side([job(data_dir, build=huge), job(data_dir, latent_dim=1)])

    assert "allocate memory" in failed.error
    assert (failed.name, failed.history, failed.finished) == ("2", [], True)
    assert other.error is None
    assert len(other.history) == 3


def test_other_errors_of_a_job_are_raised(data_dir):
    with pytest.raises(ValueError, match="invalid literal"):
        list(run_side_by_side([job(data_dir, build=partial(int, "a bug"))]))


def test_the_outcome_of_a_diverging_job_contains_the_error(data_dir):
    outcome = run_job(diverging(data_dir))

    assert "the loss is not finite in epoch 1, step 2 of 4" in outcome.error
    assert outcome.history == []
    assert outcome.best_epoch == 0


def test_a_finished_job_is_not_trained_again(data_dir, tmp_path, monkeypatch):
    one = job(data_dir, checkpoint=tmp_path / "0.pt", prune_fraction=0.3, prune_epochs=(2,))
    first = run_job(one)

    def fail(training, epoch):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "train_epoch", fail)

    assert run_job(one) == first


def test_a_job_trains_on_train_indices_and_validates_on_held_out_images(data_dir):
    chosen, held_out = torch.arange(0, 40, 2), torch.arange(1, 40, 2)
    whole = load_split(data_dir, "train")

    train, validation = job(data_dir, train_indices=chosen, held_out=held_out).image_sets()
    assert torch.equal(train.floats(), whole.floats(chosen))
    assert torch.equal(validation.floats(), whole.floats(held_out))
    assert train.images.data_ptr() == validation.images.data_ptr()  # the same mapped file

    train, validation = job(data_dir).image_sets()
    assert torch.equal(train.images, whole.images)
    assert torch.equal(validation.images, load_split(data_dir, "validation").images)


def test_indices_are_passed_to_worker_processes(data_dir, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    chosen, held_out = torch.arange(0, 40, 2), torch.arange(1, 40, 2)
    one = job(data_dir, train_indices=chosen, held_out=held_out)

    (outcome,) = run_side_by_side([one])

    assert without_time(outcome) == without_time(run_job(one))
    assert outcome.history != run_job(job(data_dir)).history


def test_an_error_of_one_job_is_raised_and_ends_the_others(data_dir, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    endless = job(data_dir, epochs=1_000_000)

    with pytest.raises(ValueError, match="convolution 4 of 6"):
        list(run_side_by_side([job(data_dir, build=impossible), endless]))


# pickled by reference
impossible = partial(Autoencoder, Architecture([1, 8, 8], [4] * 6, 16, 2))


def run_in_parts(data_dir, path, stops, **changes):
    """Run jobs that resume one after the other, the last one to its end; return all outcomes."""
    return [
        run_job(job(data_dir, checkpoint=path, stop_epoch=stop_epoch, seed=0, **changes))
        for stop_epoch in (*stops, None)
    ]


def test_stop_epoch_ends_a_training_early_with_a_bit_identical_history(data_dir, tmp_path):
    whole = run_job(job(data_dir, epochs=6))
    part = run_job(job(data_dir, epochs=6, stop_epoch=2))

    assert part.history == whole.history[:2]
    assert not part.finished
    assert part.error is None
    assert list(tmp_path.iterdir()) == []


REGULARIZED = {
    "ema_decay": 0.8,
    "l1": 1e-4,
    "clip_norm": 0.1,
    "prune_fraction": 0.3,
    "prune_epochs": (2, 3),
}


@pytest.mark.parametrize(
    ("stops", "changes"),
    [((1, 3), {}), ((1, 3), {"optimizer": "muon"}), ((2,), REGULARIZED), ((5,), REGULARIZED)],
)
def test_a_job_resumes_where_the_previous_one_stopped_bit_identically(
    data_dir, tmp_path, stops, changes
):
    whole = run_job(job(data_dir, epochs=6, **changes))
    path = tmp_path / "0.pt"

    *parts, last = run_in_parts(data_dir, path, stops, epochs=6, **changes)

    assert [part.history for part in parts] == [whole.history[:stop] for stop in stops]
    assert [part.finished for part in parts] == [False for _ in stops]
    assert without_time(last) == without_time(whole)


def test_a_training_in_parts_ends_with_bit_identical_weights(data_dir, tmp_path, monkeypatch):
    restored = []
    restore_best = Training.restore_best

    def restore_and_record(training):
        model = restore_best(training)
        restored.append({name: value.clone() for name, value in model.state_dict().items()})
        return model

    monkeypatch.setattr(Training, "restore_best", restore_and_record)
    run_job(job(data_dir, epochs=6, **REGULARIZED))
    run_in_parts(data_dir, tmp_path / "0.pt", (1, 4), epochs=6, **REGULARIZED)

    first, last = restored[0], restored[-1]
    assert first.keys() == last.keys()
    assert all(torch.equal(first[name], last[name]) for name in first)


def test_parts_can_run_in_different_processes(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    paths = [tmp_path / "0.pt", tmp_path / "1.pt"]
    for stop_epoch in (1, 3):
        outcomes = list(
            run_side_by_side(
                [
                    job(data_dir, seed=seed, epochs=4, stop_epoch=stop_epoch, checkpoint=path)
                    for seed, path in enumerate(paths)
                ]
            )
        )

    assert [outcome.history for outcome in outcomes] == [
        run_job(job(data_dir, seed=seed, epochs=4, stop_epoch=3)).history for seed in range(2)
    ]


def test_a_job_that_has_reached_its_stop_epoch_is_not_trained_again(
    data_dir, tmp_path, monkeypatch
):
    one = job(data_dir, checkpoint=tmp_path / "0.pt", epochs=6, stop_epoch=3)
    first = run_job(one)

    def fail(training, epoch):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "train_epoch", fail)

    assert run_job(one) == first


def test_without_a_checkpoint_a_later_part_starts_from_the_first_epoch(data_dir):
    run_job(job(data_dir, epochs=4, stop_epoch=2))

    assert (
        run_job(job(data_dir, epochs=4, stop_epoch=3)).history
        == run_job(job(data_dir, epochs=4)).history[:3]
    )


def test_a_job_is_finished_after_its_epochs(data_dir):
    assert not run_job(job(data_dir, epochs=3, stop_epoch=2)).finished
    assert run_job(job(data_dir, epochs=3, stop_epoch=3)).finished
    assert run_job(job(data_dir, epochs=3, stop_epoch=9)).finished
    assert run_job(job(data_dir, epochs=3)).finished


def test_a_job_is_finished_when_its_patience_runs_out(data_dir):
    impatient = {
        "epochs": 9,
        "patience": 2,
        "min_delta": 10.0,
    }  # only the first epoch is an improvement

    short = run_job(job(data_dir, stop_epoch=2, **impatient))
    assert len(short.history) == 2
    assert not short.finished
    stopped = run_job(job(data_dir, stop_epoch=3, **impatient))
    assert len(stopped.history) == 3
    assert stopped.finished
    assert len(run_job(job(data_dir, stop_epoch=7, **impatient)).history) == 3


def test_a_job_whose_patience_ran_out_stays_finished(data_dir, tmp_path):
    *parts, last = run_in_parts(
        data_dir, tmp_path / "0.pt", (3, 6), epochs=9, patience=2, min_delta=10.0
    )

    assert [len(part.history) for part in parts] == [3, 3]
    assert without_time(last) == without_time(parts[0])


def test_a_job_that_diverges_is_finished(data_dir):
    early = dataclasses.replace(diverging(data_dir), stop_epoch=1)

    assert run_job(early).error
    assert run_job(early).finished


COST_METRICS = ("parameters", "operations", "latency")


def test_the_outcome_contains_the_requested_cost_metrics(data_dir):
    assert run_job(job(data_dir)).cost == {}
    cost = run_job(job(data_dir, cost_metrics=COST_METRICS)).cost
    assert set(cost) == set(COST_METRICS)
    assert 0 < cost["latency"] < 10_000


@pytest.mark.parametrize("pruned", [{}, {"prune_fraction": 0.5, "prune_epochs": (1,)}])
def test_parameters_and_operations_are_the_sums_over_all_layers(data_dir, pruned):
    layers = describe_layers(Autoencoder(architecture(3)), torch.zeros(1, 1, 8, 8))

    outcome = run_job(job(data_dir, 3, cost_metrics=("operations", "parameters"), **pruned))

    assert outcome.cost == {
        "operations": sum(layer.operations for layer in layers),
        "parameters": sum(layer.parameters for layer in layers),
    }
    assert outcome.cost["operations"] > outcome.cost["parameters"] > 0
    assert outcome.parameters == outcome.cost["parameters"]


def test_measuring_the_cost_does_not_change_the_training(data_dir, tmp_path):
    plain = run_job(job(data_dir, epochs=4))
    measured = {"epochs": 4, "checkpoint": tmp_path / "0.pt", "cost_metrics": COST_METRICS}
    run_job(job(data_dir, stop_epoch=2, **measured))
    last = run_job(job(data_dir, **measured))

    assert without_time(dataclasses.replace(last, cost={})) == without_time(plain)


def test_a_job_that_diverges_has_cost_metrics_too(data_dir):
    outcome = run_job(dataclasses.replace(diverging(data_dir), cost_metrics=("operations",)))

    assert outcome.error
    assert outcome.cost["operations"] > 0


def test_a_job_saves_the_network_of_its_best_epoch(data_dir, tmp_path):
    one = dataclasses.replace(job(data_dir), model_dir=tmp_path / "model")

    outcome = run_job(one)

    saved = load_model(Autoencoder, tmp_path / "model")
    validation = load_split(data_dir, "validation")
    with torch.no_grad():
        mse = (saved(validation.floats()) - validation.floats()).square().mean().item()
    assert mse == pytest.approx(outcome.best["validation/mse"], rel=1e-5)
