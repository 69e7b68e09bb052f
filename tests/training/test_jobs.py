import dataclasses

import pytest
import torch

from crafting import optimization_settings, random_images
from latentlab.architecture import Architecture
from latentlab.data.image_set import load_split, write_split
from latentlab.models.autoencoder import Autoencoder
from latentlab.training import jobs as module
from latentlab.training.jobs import Job, run_job, run_side_by_side
from latentlab.training.loop import Training


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetch")
    for seed, (split, count) in enumerate({"train": 50, "validation": 20}.items()):
        labels = torch.arange(count) % 2
        write_split(folder / split, random_images(count, 8, seed)[:, None], labels.numpy())
    return folder


def job(fetched, latent_dim=2, output="sigmoid", seed=0, **changes):
    architecture = Architecture([1, 8, 8], [4, 8], 16, latent_dim, dropout=0.1, output=output)
    fields = {"settings", "checkpoint", "train_indices", "held_out"} & set(changes)
    more = {name: changes.pop(name) for name in fields}
    return Job(
        **{
            "name": str(latent_dim),
            "architecture": architecture,
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
    model = Autoencoder(one.architecture)
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

    monkeypatch.setattr(Training, "_train_epoch", refuse)

    assert timeless(run_job(one)) == timeless(first)


def test_a_job_trains_on_the_images_it_is_told_and_is_validated_on_those_held_out(fetched):
    chosen, held_out = torch.arange(0, 40, 2), torch.arange(1, 40, 2)
    whole = load_split(fetched, "train")

    train, validation = job(fetched, train_indices=chosen, held_out=held_out).image_sets()
    assert torch.equal(train.images, whole.images[chosen])
    assert torch.equal(validation.images, whole.images[held_out])

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
