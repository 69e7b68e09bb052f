import dataclasses
from functools import partial

import pytest
import torch

from crafting import optimization_settings, write_random_splits
from latentlab.data.image_set import load_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.networks.architecture import Architecture
from latentlab.networks.description import describe_layers
from latentlab.networks.store import load_model
from latentlab.parallel import processes
from latentlab.training import jobs as module
from latentlab.training.jobs import Job, run_job, run_job_alone, run_side_by_side
from latentlab.training.loop import Training


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetch")
    write_random_splits(folder, train=50, validation=20)
    return folder


def architecture(latent_dim=2, **changes):
    return Architecture([1, 8, 8], [4, 8], 16, latent_dim, **{"dropout": 0.1} | changes)


FIELDS = {"build", "settings", "checkpoint", "train_indices", "held_out", "until", "figures"}


def job(fetched, latent_dim=2, output="sigmoid", seed=0, **changes):
    more = {name: changes.pop(name) for name in FIELDS & set(changes)}
    return Job(
        **{
            "name": str(latent_dim),
            "build": partial(Autoencoder, architecture(latent_dim, output=output)),
            "settings": optimization_settings(**changes),
            "fetched": fetched,
            "seed": seed,
            "device": "cpu",
        }
        | more
    )


def diverging(fetched):
    return job(fetched, output="linear", optimizer="sgd", learning_rate=1e30)


def timeless(outcome):
    return dataclasses.replace(outcome, seconds=0.0)


def test_an_outcome_is_that_of_the_training_alone(fetched):
    one = job(fetched)
    torch.manual_seed(0)
    model = Autoencoder(architecture())
    splits = load_split(fetched, "train"), load_split(fetched, "validation")
    training = Training(model, one.settings, *splits, 0, torch.device("cpu"))
    list(training.epochs())

    outcome = run_job(one)

    assert outcome.history == training.history
    assert outcome.best_epoch == training.best_epoch
    assert outcome.best_loss == training.best_loss
    assert outcome.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert outcome.sparsity == 0.0
    assert outcome.fault is None
    assert outcome.over
    assert outcome.figures == {}


def test_a_job_in_a_process_of_its_own_has_one_thread_and_the_same_bits(fetched):
    with processes(1) as executor:
        outcome = executor.submit(run_job_alone, job(fetched)).result()
        threads = executor.submit(torch.get_num_threads).result()

    assert threads == 1
    assert timeless(outcome) == timeless(run_job(job(fetched)))


def test_a_job_trains_any_network_with_a_loss(fetched):
    outcome = run_job(job(fetched, build=partial(Classifier, architecture(), [6], 2, False)))

    assert "validation/accuracy" in outcome.best
    assert outcome.fault is None


def test_outcomes_come_in_the_order_of_jobs_with_the_same_bits_for_any_number_of_workers(
    fetched, monkeypatch
):
    """The first takes longest; one of them diverges, and the others finish."""
    jobs = [
        job(fetched, latent_dim=4, epochs=12, ema_decay=0.9),
        job(fetched, latent_dim=3, prune_fraction=0.3, prune_epochs=(2,)),
        diverging(fetched),
        job(fetched, latent_dim=1),
    ]
    found = []
    for workers in (1, 2):
        monkeypatch.setattr(module, "available_cores", lambda workers=workers: workers)
        found.append([timeless(outcome) for outcome in run_side_by_side(jobs)])

    assert found[0] == found[1]
    assert [outcome.name for outcome in found[0]] == ["4", "3", "2", "1"]
    assert [len(outcome.history) for outcome in found[0]] == [12, 3, 0, 3]
    assert [round(outcome.sparsity, 2) for outcome in found[0]] == [0.0, 0.3, 0.0, 0.0]
    assert [outcome.fault is None for outcome in found[0]] == [True, True, False, True]
    assert found[0][3] == timeless(run_job(jobs[3]))


def test_a_job_for_which_memory_is_too_small_fails_alone(fetched):
    huge = partial(torch.empty, 10**15)

    failed, other = run_side_by_side([job(fetched, build=huge), job(fetched, latent_dim=1)])

    assert "allocate memory" in failed.fault
    assert (failed.name, failed.history, failed.over) == ("2", [], True)
    assert other.fault is None
    assert len(other.history) == 3


def test_any_other_error_of_a_job_is_raised(fetched):
    with pytest.raises(ValueError, match="invalid literal"):
        list(run_side_by_side([job(fetched, build=partial(int, "a bug"))]))


def test_a_diverging_job_tells_its_fault(fetched):
    outcome = run_job(diverging(fetched))

    assert "the loss is not finite in epoch 1, step 2 of 4" in outcome.fault
    assert outcome.history == []
    assert outcome.best_epoch == 0


def test_a_finished_job_is_not_trained_again(fetched, tmp_path, monkeypatch):
    one = job(fetched, checkpoint=tmp_path / "0.pt", prune_fraction=0.3, prune_epochs=(2,))
    first = run_job(one)

    def refuse(training, epoch):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "train_epoch", refuse)

    assert run_job(one) == first


def test_a_job_trains_on_the_images_it_is_told_and_is_validated_on_those_held_out(fetched):
    chosen, held_out = torch.arange(0, 40, 2), torch.arange(1, 40, 2)
    whole = load_split(fetched, "train")

    train, validation = job(fetched, train_indices=chosen, held_out=held_out).image_sets()
    assert torch.equal(train.floats(), whole.floats(chosen))
    assert torch.equal(validation.floats(), whole.floats(held_out))
    assert train.images.data_ptr() == validation.images.data_ptr()  # of one mapping

    train, validation = job(fetched).image_sets()
    assert torch.equal(train.images, whole.images)
    assert torch.equal(validation.images, load_split(fetched, "validation").images)


def test_indices_reach_the_workers(fetched, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    chosen, held_out = torch.arange(0, 40, 2), torch.arange(1, 40, 2)
    one = job(fetched, train_indices=chosen, held_out=held_out)

    (outcome,) = run_side_by_side([one])

    assert timeless(outcome) == timeless(run_job(one))
    assert outcome.history != run_job(job(fetched)).history


def test_a_real_fault_of_a_job_is_told_and_ends_the_others(fetched, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    endless = job(fetched, epochs=1_000_000)

    with pytest.raises(ValueError, match="the image vanishes"):
        list(run_side_by_side([job(fetched, build=impossible), endless]))


# pickled by its name, which workers know
impossible = partial(Autoencoder, Architecture([1, 8, 8], [4] * 6, 16, 2))


def stop_and_go_on(fetched, path, stops, **changes):
    """The outcomes of jobs that go on with each other's checkpoint; the last has no end set."""
    return [
        run_job(job(fetched, checkpoint=path, until=until, seed=0, **changes))
        for until in (*stops, None)
    ]


def test_until_ends_a_training_at_that_epoch_with_the_bits_that_a_whole_one_has_there(
    fetched, tmp_path
):
    whole = run_job(job(fetched, epochs=6))
    part = run_job(job(fetched, epochs=6, until=2))

    assert part.history == whole.history[:2]
    assert not part.over
    assert part.fault is None
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
    fetched, tmp_path, stops, changes
):
    whole = run_job(job(fetched, epochs=6, **changes))
    path = tmp_path / "0.pt"

    *parts, last = stop_and_go_on(fetched, path, stops, epochs=6, **changes)

    assert [part.history for part in parts] == [whole.history[:stop] for stop in stops]
    assert [part.over for part in parts] == [False for _ in stops]
    assert timeless(last) == timeless(whole)


def test_the_weights_of_a_training_in_parts_are_those_of_one_in_one_go(
    fetched, tmp_path, monkeypatch
):
    kept = []
    restore_best = Training.restore_best

    def watched(training):
        model = restore_best(training)
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
        return model

    monkeypatch.setattr(Training, "restore_best", watched)
    run_job(job(fetched, epochs=6, **REGULARIZED))
    stop_and_go_on(fetched, tmp_path / "0.pt", (1, 4), epochs=6, **REGULARIZED)

    assert kept[0].keys() == kept[-1].keys()
    assert all(torch.equal(kept[0][name], kept[-1][name]) for name in kept[0])


def test_parts_may_run_in_different_processes(fetched, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    paths = [tmp_path / "0.pt", tmp_path / "1.pt"]
    for until in (1, 3):
        found = list(
            run_side_by_side(
                [
                    job(fetched, seed=seed, epochs=4, until=until, checkpoint=path)
                    for seed, path in enumerate(paths)
                ]
            )
        )

    assert [outcome.history for outcome in found] == [
        run_job(job(fetched, seed=seed, epochs=4, until=3)).history for seed in range(2)
    ]


def test_a_training_that_is_where_it_should_be_is_not_trained_further(
    fetched, tmp_path, monkeypatch
):
    one = job(fetched, checkpoint=tmp_path / "0.pt", epochs=6, until=3)
    first = run_job(one)

    def refuse(training, epoch):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "train_epoch", refuse)

    assert run_job(one) == first


def test_without_a_checkpoint_a_later_part_begins_anew(fetched):
    run_job(job(fetched, epochs=4, until=2))

    assert (
        run_job(job(fetched, epochs=4, until=3)).history
        == run_job(job(fetched, epochs=4)).history[:3]
    )


def test_a_job_is_over_when_its_epochs_are_spent(fetched):
    assert not run_job(job(fetched, epochs=3, until=2)).over
    assert run_job(job(fetched, epochs=3, until=3)).over
    assert run_job(job(fetched, epochs=3, until=9)).over
    assert run_job(job(fetched, epochs=3)).over


def test_a_job_is_over_when_its_patience_is_spent(fetched):
    impatient = {"epochs": 9, "patience": 2, "min_delta": 10.0}  # the first epoch alone counts

    short = run_job(job(fetched, until=2, **impatient))
    assert len(short.history) == 2
    assert not short.over
    spent = run_job(job(fetched, until=3, **impatient))
    assert len(spent.history) == 3
    assert spent.over
    assert len(run_job(job(fetched, until=7, **impatient)).history) == 3


def test_a_job_whose_patience_was_spent_stays_over(fetched, tmp_path):
    *parts, last = stop_and_go_on(
        fetched, tmp_path / "0.pt", (3, 6), epochs=9, patience=2, min_delta=10.0
    )

    assert [len(part.history) for part in parts] == [3, 3]
    assert timeless(last) == timeless(parts[0])


def test_a_job_that_fails_is_over(fetched):
    early = dataclasses.replace(diverging(fetched), until=1)

    assert run_job(early).fault
    assert run_job(early).over


def test_figures_are_those_that_are_asked_for(fetched):
    figures = ("parameters", "operations", "latency")

    assert run_job(job(fetched)).figures == {}
    assert set(run_job(job(fetched, figures=figures[:1])).figures) == {"parameters"}
    assert set(run_job(job(fetched, figures=figures)).figures) == set(figures)


@pytest.mark.parametrize("pruned", [{}, {"prune_fraction": 0.5, "prune_epochs": (1,)}])
def test_parameters_and_operations_are_those_that_describe_adds_up(fetched, pruned):
    layers = describe_layers(Autoencoder(architecture(3)), torch.zeros(1, 1, 8, 8))

    outcome = run_job(job(fetched, 3, figures=("operations", "parameters"), **pruned))

    assert outcome.figures == {
        "operations": sum(layer.operations for layer in layers),
        "parameters": sum(layer.parameters for layer in layers),
    }
    assert outcome.figures["operations"] > outcome.figures["parameters"] > 0
    assert outcome.parameters == outcome.figures["parameters"]


def test_latency_is_a_time(fetched):
    assert 0 < run_job(job(fetched, figures=("latency",))).figures["latency"] < 10_000


def test_figures_of_a_part_change_nothing_of_the_rest(fetched, tmp_path):
    figures = ("parameters", "operations", "latency")
    plain = run_job(job(fetched, epochs=4))
    run_job(job(fetched, epochs=4, checkpoint=tmp_path / "0.pt", until=2, figures=figures))
    last = run_job(job(fetched, epochs=4, checkpoint=tmp_path / "0.pt", figures=figures))

    assert timeless(dataclasses.replace(last, figures={})) == timeless(plain)


def test_a_job_that_failed_has_figures_too(fetched):
    outcome = run_job(dataclasses.replace(diverging(fetched), figures=("operations",)))

    assert outcome.fault
    assert outcome.figures["operations"] > 0


def test_the_network_that_a_job_keeps_is_that_of_its_best_epoch(fetched, tmp_path):
    one = dataclasses.replace(job(fetched), kept=tmp_path / "model")

    outcome = run_job(one)

    kept = load_model(Autoencoder, tmp_path / "model")
    validation = load_split(fetched, "validation")
    with torch.no_grad():
        mse = (kept(validation.floats()) - validation.floats()).square().mean().item()
    assert mse == pytest.approx(outcome.best["validation/mse"], rel=1e-5)
