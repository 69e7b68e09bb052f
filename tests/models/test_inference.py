import pytest
import torch

from latentlab.models.inference import Means


def batches(seed=0):
    """Batches of unequal size: a loss for every image, and how many there are."""
    random = torch.Generator().manual_seed(seed)
    return [torch.rand(count, generator=random) for count in (16, 16, 5)]


def add(means, losses):
    means.add({"loss": losses.mean(), "half": losses.mean() / 2}, len(losses))


def test_the_mean_is_over_images_not_over_batches():
    means = Means()
    for losses in batches():
        add(means, losses)

    expected = torch.cat(batches()).mean().item()

    assert means.take() == pytest.approx({"loss": expected, "half": expected / 2})


def test_taking_starts_anew():
    means = Means()
    add(means, torch.tensor([1.0, 3.0]))
    means.take()
    add(means, torch.tensor([5.0]))

    assert means.take() == {"loss": 5.0, "half": 2.5}


def test_nothing_added_is_no_mean():
    assert Means().take() == {}


def test_no_graph_is_kept():
    weight = torch.ones((), requires_grad=True)
    means = Means()
    means.add({"loss": weight * 2}, 3)

    assert not means.state_dict()["sums"]["loss"].requires_grad


def test_another_goes_on_with_the_same_bits():
    whole, first, second = Means(), Means(), Means()
    for losses in batches():
        add(whole, losses)
    add(first, batches()[0])
    second.load_state_dict(first.state_dict())
    for losses in batches()[1:]:
        add(second, losses)
        add(first, losses)

    assert second.take() == first.take() == whole.take()


def test_many_terms_of_little_precision_have_the_mean_that_each_has():
    means = Means()
    for _ in range(2000):
        means.add({"score": torch.tensor(0.5, dtype=torch.bfloat16)}, 64)

    assert means.take() == {"score": 0.5}
