import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from latentlab.models.vae import KlSchedule, Vae, gaussian_kl
from latentlab.params.geometry import Architecture


def make_vae(likelihood="gaussian", scale=None, **kl_schedule):
    torch.manual_seed(0)
    architecture = Architecture((1, 28, 28), [8, 16], 32, 4)
    return Vae(architecture, likelihood, scale, KlSchedule(**kl_schedule))


@pytest.fixture
def posterior():
    torch.manual_seed(1)
    return torch.randn(6, 4), torch.randn(6, 4)


def test_kl_equals_the_closed_form_of_torch_distributions(posterior):
    mean, log_variance = posterior
    reference = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))

    torch.testing.assert_close(gaussian_kl(mean, log_variance), reference)


def test_kl_equals_its_monte_carlo_estimate(posterior):
    mean, log_variance = (tensor[:1] for tensor in posterior)
    q, p = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    codes = q.sample((200_000,))
    differences = (q.log_prob(codes) - p.log_prob(codes)).sum(-1)

    standard_error = differences.std() / math.sqrt(len(differences))
    assert abs(differences.mean() - gaussian_kl(mean, log_variance).sum(1)) < 4 * standard_error


def test_the_kl_of_the_prior_to_itself_is_zero():
    assert gaussian_kl(torch.zeros(3, 4), torch.zeros(3, 4)).abs().max() == 0


def test_the_gaussian_likelihood_equals_that_of_torch_distributions():
    vae = make_vae()
    images, outputs = torch.rand(3, 1, 28, 28), torch.rand(3, 1, 28, 28)
    reference = Normal(outputs, vae.log_scale.exp()).log_prob(images).flatten(1).sum(1)

    torch.testing.assert_close(vae.log_likelihood(outputs, images), reference)


def test_a_fixed_scale_is_not_learned():
    vae = make_vae(scale=0.3)
    images, outputs = torch.rand(3, 1, 28, 28), torch.rand(3, 1, 28, 28)
    reference = Normal(outputs, 0.3).log_prob(images).flatten(1).sum(1)

    torch.testing.assert_close(vae.log_likelihood(outputs, images), reference)
    assert not any("scale" in name for name, _ in vae.named_parameters())


def test_the_bernoulli_likelihood_equals_that_of_torch_distributions():
    vae = make_vae("bernoulli")
    images, outputs = torch.rand(3, 1, 28, 28).round(), torch.rand(3, 1, 28, 28)
    reference = Bernoulli(outputs).log_prob(images).flatten(1).sum(1)

    torch.testing.assert_close(vae.log_likelihood(outputs, images), reference)


def test_binary_pixels_are_redrawn_in_training_and_fixed_in_evaluation_mode():
    vae, images = make_vae("bernoulli"), torch.full((200, 1, 28, 28), 0.3)

    first, second = vae.observed(images), vae.observed(images)
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert first.mean().item() == pytest.approx(0.3, abs=0.005)
    vae.eval()
    assert torch.equal(vae.observed(images), vae.observed(images))


def test_other_likelihoods_observe_the_images_unchanged():
    images = torch.rand(3, 1, 28, 28)

    assert make_vae().observed(images) is images


def test_squared_error_is_a_gaussian_likelihood_of_variance_one_half():
    vae = make_vae("squared_error")
    images, outputs = torch.rand(3, 1, 28, 28), torch.rand(3, 1, 28, 28)
    likelihood = vae.log_likelihood(outputs, images)

    reference = Normal(outputs, math.sqrt(0.5)).log_prob(images).flatten(1).sum(1)
    torch.testing.assert_close(likelihood, reference)
    squared = (images - outputs).square().flatten(1).sum(1)
    torch.testing.assert_close(likelihood + squared, torch.full((3,), -392 * math.log(math.pi)))


@pytest.mark.parametrize("likelihood", ["gaussian", "squared_error"])
def test_the_elbo_equals_that_of_torch_distributions_for_the_same_noise(likelihood):
    vae, images = make_vae(likelihood), torch.rand(5, 1, 28, 28)
    torch.manual_seed(7)
    terms = vae.loss_terms(images, torch.zeros(5))

    mean, log_variance = vae.encode(images)
    posterior = Normal(mean, log_variance.exp().sqrt())
    torch.manual_seed(7)
    codes = posterior.loc + posterior.scale * torch.randn(5, 4)
    scale = vae.log_scale.exp() if likelihood == "gaussian" else math.sqrt(0.5)
    log_likelihood = Normal(vae.decode(codes), scale).log_prob(images).sum((1, 2, 3))
    kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)

    torch.testing.assert_close(terms["elbo"], (log_likelihood - kl).mean())


def test_codes_and_reconstructions_use_the_binary_pixels():
    vae, images = make_vae("bernoulli").eval(), torch.rand(5, 1, 28, 28)
    binary = vae.observed(images)

    assert torch.equal(vae.latent_codes(images), vae.encode(binary)[0])
    assert torch.equal(vae(images), vae.decode(vae.encode(binary)[0]))


def test_pixels_near_1_are_not_rounded_in_bfloat16():
    vae = make_vae("bernoulli").eval()
    with torch.no_grad():
        vae.decoder[-2][0].bias.fill_(7.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = vae.decode(torch.zeros(1, 4))

    assert outputs.dtype == torch.float32
    assert 0.998 < float(outputs.max()) < 1


def test_the_loss_is_reconstruction_plus_beta_times_kl():
    for beta in (0.0, 1.0, 4.0):
        vae = make_vae(beta=beta)

        terms = vae.loss_terms(torch.rand(8, 1, 28, 28), torch.zeros(8))

        torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * terms["kl"])
        torch.testing.assert_close(terms["elbo"], -(terms["reconstruction"] + terms["kl"]))


def test_beta_increases_linearly_over_the_warmup_and_is_constant_in_evaluation_mode():
    vae, images = make_vae(beta=2.0, warmup_epochs=4), torch.rand(8, 1, 28, 28)

    for epoch, beta in ((1, 0.5), (2, 1.0), (4, 2.0), (9, 2.0)):
        vae.start_epoch(epoch)
        terms = vae.loss_terms(images, torch.zeros(8))
        torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * terms["kl"])
    vae.start_epoch(1)
    terms = vae.eval().loss_terms(images, torch.zeros(8))
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 2.0 * terms["kl"])


def test_free_bits_bound_the_penalty_of_each_dimension_from_below():
    divergence = torch.tensor([[0.1, 2.0, 0.5], [0.3, 4.0, 0.5]])

    assert KlSchedule(free_bits=0.4).penalty(divergence).item() == pytest.approx(0.4 + 3.0 + 0.5)
    assert KlSchedule().penalty(divergence).item() == pytest.approx(0.2 + 3.0 + 0.5)


def test_every_parameter_gets_a_gradient_through_the_sampled_code():
    vae = make_vae()
    vae.loss_terms(torch.rand(8, 1, 28, 28), torch.zeros(8))["loss"].backward()

    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_samples_are_reproducible_images_between_0_and_1():
    vae = make_vae().eval()
    with torch.inference_mode():
        first = vae.sample(5, torch.Generator().manual_seed(3))
        same = vae.sample(5, torch.Generator().manual_seed(3))
        other = vae.sample(5, torch.Generator().manual_seed(4))

    assert first.shape == (5, 1, 28, 28)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
