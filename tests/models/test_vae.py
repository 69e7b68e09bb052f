import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from latentlab.models.vae import Vae, gaussian_kl
from latentlab.networks.architecture import Architecture


def make_vae(likelihood="gaussian", beta=1.0):
    torch.manual_seed(0)
    return Vae(Architecture((1, 28, 28), [8, 16], 32, 4), likelihood, beta)


@pytest.fixture
def posterior():
    torch.manual_seed(1)
    return torch.randn(6, 4), torch.randn(6, 4)


def test_kl_equals_the_closed_form_of_torch(posterior):
    mean, log_variance = posterior
    reference = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)

    torch.testing.assert_close(gaussian_kl(mean, log_variance), reference)


def test_kl_equals_its_monte_carlo_estimate(posterior):
    mean, log_variance = (tensor[:1] for tensor in posterior)
    q, p = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    codes = q.sample((200_000,))
    differences = (q.log_prob(codes) - p.log_prob(codes)).sum(-1)

    standard_error = differences.std() / math.sqrt(len(differences))
    assert abs(differences.mean() - gaussian_kl(mean, log_variance)) < 4 * standard_error


def test_kl_of_the_prior_is_zero():
    assert gaussian_kl(torch.zeros(3, 4), torch.zeros(3, 4)).abs().max() == 0


def test_the_gaussian_likelihood_equals_the_one_of_torch():
    vae = make_vae()
    images, outputs = torch.rand(3, 1, 28, 28), torch.rand(3, 1, 28, 28)
    reference = Normal(outputs, vae.log_scale.exp()).log_prob(images).flatten(1).sum(1)

    torch.testing.assert_close(vae.log_likelihood(outputs, images), reference)


def test_the_mse_likelihood_is_the_summed_squared_error():
    vae = make_vae("mse")
    images, outputs = torch.rand(3, 1, 28, 28), torch.rand(3, 1, 28, 28)

    expected = -(images - outputs).square().flatten(1).sum(1)

    torch.testing.assert_close(vae.log_likelihood(outputs, images), expected)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_loss_is_reconstruction_plus_beta_times_kl(beta):
    vae = make_vae(beta=beta)

    terms = vae.loss_terms(torch.rand(8, 1, 28, 28), torch.zeros(8))

    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * terms["kl"])
    torch.testing.assert_close(terms["elbo"], -(terms["reconstruction"] + terms["kl"]))


def test_every_weight_gets_a_gradient_through_the_sampled_code():
    vae = make_vae()
    vae.loss_terms(torch.rand(8, 1, 28, 28), torch.zeros(8))["loss"].backward()

    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_samples_are_seeded_and_lie_between_black_and_white():
    vae = make_vae().eval()
    with torch.inference_mode():
        first = vae.sample(5, torch.Generator().manual_seed(3))
        again = vae.sample(5, torch.Generator().manual_seed(3))
        other = vae.sample(5, torch.Generator().manual_seed(4))

    assert first.shape == (5, 1, 28, 28)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
