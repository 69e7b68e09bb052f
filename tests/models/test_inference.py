import pytest
import torch

from latentlab.models.inference import Means


def batches(seed=0):
    """Return the losses of the images in three batches of unequal size."""
    random = torch.Generator().manual_seed(seed)
    return [torch.rand(count, generator=random) for count in (16, 16, 5)]


def add(means, losses):
    means.add({"loss": losses.mean(), "half": losses.mean() / 2}, len(losses))


def test_the_mean_is_over_images_not_over_batches():
    means = Means()
    for losses in batches():
        add(means, losses)

    expected = torch.cat(batches()).mean().item()

    assert means.compute_and_reset() == pytest.approx({"loss": expected, "half": expected / 2})


def test_computing_the_means_resets_them():
    means = Means()
    add(means, torch.tensor([1.0, 3.0]))
    means.compute_and_reset()
    add(means, torch.tensor([5.0]))

    assert means.compute_and_reset() == {"loss": 5.0, "half": 2.5}


def test_sums_of_several_processes_are_reduced():
    means = Means(all_reduce=lambda values: values * 2 + torch.tensor([1.0, 0.0, 0.0]))
    add(means, torch.tensor([1.0, 3.0]))

    assert means.compute_and_reset() == {"loss": 9 / 4, "half": 1.0}


def test_without_batches_there_are_no_means():
    assert Means().compute_and_reset() == {}


def test_sums_do_not_keep_the_autograd_graph():
    weight = torch.ones((), requires_grad=True)
    means = Means()
    means.add({"loss": weight * 2}, 3)

    assert not means.state_dict()["sums"]["loss"].requires_grad


def test_restored_sums_give_bit_identical_means():
    whole, first, second = Means(), Means(), Means()
    for losses in batches():
        add(whole, losses)
    add(first, batches()[0])
    second.load_state_dict(first.state_dict())
    for losses in batches()[1:]:
        add(second, losses)
        add(first, losses)

    assert second.compute_and_reset() == first.compute_and_reset() == whole.compute_and_reset()


def test_bfloat16_terms_are_summed_without_rounding():
    means = Means()
    for _ in range(2000):
        means.add({"score": torch.tensor(0.5, dtype=torch.bfloat16)}, 64)

    assert means.compute_and_reset() == {"score": 0.5}
