import dataclasses
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


FIELDS = {"build", "settings", "checkpoint", "train_indices", "held_out", "until", "figures"}


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


def timeless(outcome):
    return dataclasses.replace(outcome, seconds=0.0)


def test_an_outcome_is_that_of_the_training_alone(data_dir):
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
    assert outcome.figures == {}


def test_a_job_in_a_process_of_its_own_has_one_thread_and_the_same_bits(data_dir):
    with processes(1) as executor:
        outcome = executor.submit(run_job_alone, job(data_dir)).result()
        threads = executor.submit(torch.get_num_threads).result()

    assert threads == 1
    assert timeless(outcome) == timeless(run_job(job(data_dir)))


def test_a_job_trains_any_network_with_a_loss(data_dir):
    outcome = run_job(job(data_dir, build=partial(Classifier, architecture(), [6], 2, False)))

    assert "validation/accuracy" in outcome.best
    assert outcome.error is None


def test_outcomes_come_in_the_order_of_jobs_with_the_same_bits_for_any_number_of_workers(
    data_dir, monkeypatch
):
    """The first takes longest; one of them diverges, and the others finish."""
    jobs = [
        job(data_dir, latent_dim=4, epochs=12, ema_decay=0.9),
        job(data_dir, latent_dim=3, prune_fraction=0.3, prune_epochs=(2,)),
        diverging(data_dir),
        job(data_dir, latent_dim=1),
    ]
    found = []
    for workers in (1, 2):
        monkeypatch.setattr(module, "available_cores", lambda workers=workers: workers)
        found.append([timeless(outcome) for outcome in run_side_by_side(jobs)])

    assert found[0] == found[1]
    assert [outcome.name for outcome in found[0]] == ["4", "3", "2", "1"]
    assert [len(outcome.history) for outcome in found[0]] == [12, 3, 0, 3]
    assert [round(outcome.sparsity, 2) for outcome in found[0]] == [0.0, 0.3, 0.0, 0.0]
    assert [outcome.error is None for outcome in found[0]] == [True, True, False, True]
    assert found[0][3] == timeless(run_job(jobs[3]))


def test_a_job_for_which_memory_is_too_small_fails_alone(data_dir):
    huge = partial(torch.empty, 10**15)

    failed, other = run_side_by_side([job(data_dir, build=huge), job(data_dir, latent_dim=1)])

    assert "allocate memory" in failed.error
    assert (failed.name, failed.history, failed.finished) == ("2", [], True)
    assert other.error is None
    assert len(other.history) == 3


def test_any_other_error_of_a_job_is_raised(data_dir):
    with pytest.raises(ValueError, match="invalid literal"):
        list(run_side_by_side([job(data_dir, build=partial(int, "a bug"))]))


def test_a_diverging_job_tells_its_fault(data_dir):
    outcome = run_job(diverging(data_dir))

    assert "the loss is not finite in epoch 1, step 2 of 4" in outcome.error
    assert outcome.history == []
    assert outcome.best_epoch == 0


def test_a_finished_job_is_not_trained_again(data_dir, tmp_path, monkeypatch):
    one = job(data_dir, checkpoint=tmp_path / "0.pt", prune_fraction=0.3, prune_epochs=(2,))
    first = run_job(one)

    def refuse(training, epoch):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "train_epoch", refuse)

    assert run_job(one) == first


def test_a_job_trains_on_the_images_it_is_told_and_is_validated_on_those_held_out(data_dir):
    chosen, held_out = torch.arange(0, 40, 2), torch.arange(1, 40, 2)
    whole = load_split(data_dir, "train")

    train, validation = job(data_dir, train_indices=chosen, held_out=held_out).image_sets()
    assert torch.equal(train.floats(), whole.floats(chosen))
    assert torch.equal(validation.floats(), whole.floats(held_out))
    assert train.images.data_ptr() == validation.images.data_ptr()  # of one mapping

    train, validation = job(data_dir).image_sets()
    assert torch.equal(train.images, whole.images)
    assert torch.equal(validation.images, load_split(data_dir, "validation").images)


def test_indices_reach_the_workers(data_dir, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    chosen, held_out = torch.arange(0, 40, 2), torch.arange(1, 40, 2)
    one = job(data_dir, train_indices=chosen, held_out=held_out)

    (outcome,) = run_side_by_side([one])

    assert timeless(outcome) == timeless(run_job(one))
    assert outcome.history != run_job(job(data_dir)).history


def test_a_real_fault_of_a_job_is_told_and_ends_the_others(data_dir, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    endless = job(data_dir, epochs=1_000_000)

    with pytest.raises(ValueError, match="the image vanishes"):
        list(run_side_by_side([job(data_dir, build=impossible), endless]))


# pickled by its name, which workers know
impossible = partial(Autoencoder, Architecture([1, 8, 8], [4] * 6, 16, 2))


def stop_and_go_on(data_dir, path, stops, **changes):
    """The outcomes of jobs that go on with each other's checkpoint; the last has no end set."""
    return [
        run_job(job(data_dir, checkpoint=path, stop_epoch=until, seed=0, **changes))
        for until in (*stops, None)
    ]


def test_until_ends_a_training_at_that_epoch_with_the_bits_that_a_whole_one_has_there(
    data_dir, tmp_path
):
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
def test_a_job_goes_on_where_the_one_before_stopped_to_the_same_bits(
    data_dir, tmp_path, stops, changes
):
    whole = run_job(job(data_dir, epochs=6, **changes))
    path = tmp_path / "0.pt"

    *parts, last = stop_and_go_on(data_dir, path, stops, epochs=6, **changes)

    assert [part.history for part in parts] == [whole.history[:stop] for stop in stops]
    assert [part.finished for part in parts] == [False for _ in stops]
    assert timeless(last) == timeless(whole)


def test_the_weights_of_a_training_in_parts_are_those_of_one_in_one_go(
    data_dir, tmp_path, monkeypatch
):
    kept = []
    restore_best = Training.restore_best

    def watched(training):
        model = restore_best(training)
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
        return model

    monkeypatch.setattr(Training, "restore_best", watched)
    run_job(job(data_dir, epochs=6, **REGULARIZED))
    stop_and_go_on(data_dir, tmp_path / "0.pt", (1, 4), epochs=6, **REGULARIZED)

    assert kept[0].keys() == kept[-1].keys()
    assert all(torch.equal(kept[0][name], kept[-1][name]) for name in kept[0])


def test_parts_may_run_in_different_processes(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    paths = [tmp_path / "0.pt", tmp_path / "1.pt"]
    for until in (1, 3):
        found = list(
            run_side_by_side(
                [
                    job(data_dir, seed=seed, epochs=4, stop_epoch=until, checkpoint=path)
                    for seed, path in enumerate(paths)
                ]
            )
        )

    assert [outcome.history for outcome in found] == [
        run_job(job(data_dir, seed=seed, epochs=4, stop_epoch=3)).history for seed in range(2)
    ]


def test_a_training_that_is_where_it_should_be_is_not_trained_further(
    data_dir, tmp_path, monkeypatch
):
    one = job(data_dir, checkpoint=tmp_path / "0.pt", epochs=6, stop_epoch=3)
    first = run_job(one)

    def refuse(training, epoch):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "train_epoch", refuse)

    assert run_job(one) == first


def test_without_a_checkpoint_a_later_part_begins_anew(data_dir):
    run_job(job(data_dir, epochs=4, stop_epoch=2))

    assert (
        run_job(job(data_dir, epochs=4, stop_epoch=3)).history
        == run_job(job(data_dir, epochs=4)).history[:3]
    )


def test_a_job_is_over_when_its_epochs_are_spent(data_dir):
    assert not run_job(job(data_dir, epochs=3, stop_epoch=2)).finished
    assert run_job(job(data_dir, epochs=3, stop_epoch=3)).finished
    assert run_job(job(data_dir, epochs=3, stop_epoch=9)).finished
    assert run_job(job(data_dir, epochs=3)).finished


def test_a_job_is_over_when_its_patience_is_spent(data_dir):
    impatient = {"epochs": 9, "patience": 2, "min_delta": 10.0}  # the first epoch alone counts

    short = run_job(job(data_dir, stop_epoch=2, **impatient))
    assert len(short.history) == 2
    assert not short.finished
    spent = run_job(job(data_dir, stop_epoch=3, **impatient))
    assert len(spent.history) == 3
    assert spent.finished
    assert len(run_job(job(data_dir, stop_epoch=7, **impatient)).history) == 3


def test_a_job_whose_patience_was_spent_stays_over(data_dir, tmp_path):
    *parts, last = stop_and_go_on(
        data_dir, tmp_path / "0.pt", (3, 6), epochs=9, patience=2, min_delta=10.0
    )

    assert [len(part.history) for part in parts] == [3, 3]
    assert timeless(last) == timeless(parts[0])


def test_a_job_that_fails_is_over(data_dir):
    early = dataclasses.replace(diverging(data_dir), stop_epoch=1)

    assert run_job(early).error
    assert run_job(early).finished


def test_figures_are_those_that_are_asked_for(data_dir):
    figures = ("parameters", "operations", "latency")

    assert run_job(job(data_dir)).figures == {}
    assert set(run_job(job(data_dir, figures=figures[:1])).figures) == {"parameters"}
    assert set(run_job(job(data_dir, figures=figures)).figures) == set(figures)


@pytest.mark.parametrize("pruned", [{}, {"prune_fraction": 0.5, "prune_epochs": (1,)}])
def test_parameters_and_operations_are_those_that_describe_adds_up(data_dir, pruned):
    layers = describe_layers(Autoencoder(architecture(3)), torch.zeros(1, 1, 8, 8))

    outcome = run_job(job(data_dir, 3, figures=("operations", "parameters"), **pruned))

    assert outcome.figures == {
        "operations": sum(layer.operations for layer in layers),
        "parameters": sum(layer.parameters for layer in layers),
    }
    assert outcome.figures["operations"] > outcome.figures["parameters"] > 0
    assert outcome.parameters == outcome.figures["parameters"]


def test_latency_is_a_time(data_dir):
    assert 0 < run_job(job(data_dir, figures=("latency",))).figures["latency"] < 10_000


def test_figures_of_a_part_change_nothing_of_the_rest(data_dir, tmp_path):
    figures = ("parameters", "operations", "latency")
    plain = run_job(job(data_dir, epochs=4))
    run_job(job(data_dir, epochs=4, checkpoint=tmp_path / "0.pt", stop_epoch=2, figures=figures))
    last = run_job(job(data_dir, epochs=4, checkpoint=tmp_path / "0.pt", figures=figures))

    assert timeless(dataclasses.replace(last, figures={})) == timeless(plain)


def test_a_job_that_failed_has_figures_too(data_dir):
    outcome = run_job(dataclasses.replace(diverging(data_dir), figures=("operations",)))

    assert outcome.error
    assert outcome.figures["operations"] > 0


def test_the_network_that_a_job_keeps_is_that_of_its_best_epoch(data_dir, tmp_path):
    one = dataclasses.replace(job(data_dir), model_dir=tmp_path / "model")

    outcome = run_job(one)

    kept = load_model(Autoencoder, tmp_path / "model")
    validation = load_split(data_dir, "validation")
    with torch.no_grad():
        mse = (kept(validation.floats()) - validation.floats()).square().mean().item()
    assert mse == pytest.approx(outcome.best["validation/mse"], rel=1e-5)
