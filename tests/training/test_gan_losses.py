import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy

from latentlab.training.gan import discriminator_loss, generator_loss, gradient_penalty

REAL = torch.tensor([1.5, -0.5, 0.2])
GENERATED = torch.tensor([-2.0, 0.4, 1.1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_is_the_cross_entropy_of_probabilities(smoothing):
    expected = binary_cross_entropy(REAL.sigmoid(), torch.full((3,), 1 - smoothing))
    expected += binary_cross_entropy(GENERATED.sigmoid(), torch.zeros(3))

    torch.testing.assert_close(discriminator_loss("bce", REAL, GENERATED, smoothing), expected)
    not_saturating = -GENERATED.sigmoid().log().mean()
    torch.testing.assert_close(generator_loss("bce", GENERATED), not_saturating)


def test_hinge_stops_beyond_the_margin():
    loss = discriminator_loss("hinge", REAL, GENERATED)

    assert loss.item() == pytest.approx((0 + 1.5 + 0.8) / 3 + (0 + 1.4 + 2.1) / 3)
    assert generator_loss("hinge", GENERATED).item() == pytest.approx(0.5 / 3)


def test_wasserstein_is_the_difference_of_means():
    loss = discriminator_loss("wasserstein", REAL, GENERATED)

    assert loss.item() == pytest.approx((-0.5 - 1.2) / 3)
    assert generator_loss("wasserstein", GENERATED).item() == pytest.approx(0.5 / 3)


def test_the_penalty_of_a_linear_critic_is_that_of_its_slope():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    real, generated = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    slope = critic[1].weight.norm()

    penalty = gradient_penalty(critic, real, generated, torch.rand(5))

    torch.testing.assert_close(penalty, (slope - 1).square())


def test_the_penalty_is_taken_between_the_images():
    """Of |x|^2 / 2 the gradient is x itself: its length tells where it was taken."""
    real, generated = torch.full((2, 1, 2, 2), 3.0), torch.full((2, 1, 2, 2), -1.0)
    shares = torch.tensor([1.0, 0.25])  # at 3 and at 0

    penalty = gradient_penalty(lambda x: x.square().flatten(1).sum(1) / 2, real, generated, shares)

    assert penalty.item() == pytest.approx(((6 - 1) ** 2 + (0 - 1) ** 2) / 2)


def test_the_penalty_moves_the_critic():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    gradient_penalty(
        critic, torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4), torch.rand(5)
    ).backward()

    assert critic[1].weight.grad.abs().sum() > 0
