import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.bounds import active_units, bound_metrics, importance_weighted_bound
from latentlab.models.vae import gaussian_kl

SIZE, LATENT, SCALE = 4, 2, 0.3


class LinearVae(nn.Module):
    """A VAE with a linear decoder, for which log p(x) and the posterior have closed forms.

    p(x) = N(0, W W' + s^2 I). The covariance of the posterior is (I + W'W / s^2)^-1, which is
    diagonal because the columns of W are orthogonal. `offset` shifts the means of q away from those
    of the posterior.
    """

    def __init__(self, offset=0.0):
        super().__init__()
        torch.manual_seed(0)
        directions, _ = torch.linalg.qr(torch.randn(SIZE**2, LATENT))
        self.weights = nn.Parameter(directions * torch.tensor([1.5, 0.7]))
        self.offset = offset

    @property
    def variance(self):
        return 1 / (1 + self.weights.square().sum(0) / SCALE**2)

    def encode(self, images):
        mean = images.flatten(1) @ self.weights / SCALE**2 * self.variance
        return mean + self.offset, self.variance.log().expand(len(images), -1)

    def decode(self, codes):
        return (codes @ self.weights.T).unflatten(1, (1, SIZE, SIZE))

    def observed(self, images):
        return images

    def latent_codes(self, images):
        return self.encode(images)[0]

    def log_likelihood(self, outputs, images):
        return Normal(outputs, SCALE).log_prob(images).flatten(1).sum(1)

    def loss_terms(self, images, labels):
        mean, log_variance = self.encode(images)
        codes = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        reconstruction = -self.log_likelihood(self.decode(codes), images).mean()
        kl = gaussian_kl(mean, log_variance).sum(1).mean()
        return {"reconstruction": reconstruction, "kl": kl, "elbo": -(reconstruction + kl)}

    def evidence(self, images):
        """Return the mean of log p(x) over images."""
        covariance = self.weights @ self.weights.T + SCALE**2 * torch.eye(SIZE**2)
        marginal = MultivariateNormal(torch.zeros(SIZE**2), covariance)
        return marginal.log_prob(images.floats(slice(None)).flatten(1)).mean().item()

    def gap(self):
        """Return the KL divergence of q from the exact posterior."""
        deviation = self.variance.sqrt()
        shifted = Normal(torch.full((LATENT,), self.offset), deviation)
        return kl_divergence(shifted, Normal(0.0, deviation)).sum().item()


@pytest.fixture
def images():
    random = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (64, 1, SIZE, SIZE), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(64, dtype=torch.int64))


@torch.inference_mode()
def test_with_the_exact_posterior_the_bound_is_the_evidence(images):
    vae = LinearVae()

    evidence = pytest.approx(vae.evidence(images), rel=1e-5)
    for samples in (1, 5):
        bounds = importance_weighted_bound(vae, images, samples, seed=0)
        assert bounds == {"iwae": evidence, "iwae_elbo": evidence}


@torch.inference_mode()
def test_one_sample_gives_the_elbo_and_many_samples_approach_the_evidence(images):
    vae = LinearVae(offset=0.2)
    evidence, gap = vae.evidence(images), vae.gap()
    assert gap > 0.3

    one = [importance_weighted_bound(vae, images, 1, seed)["iwae"] for seed in range(40)]
    few = importance_weighted_bound(vae, images, 10, seed=0)["iwae"]
    many, elbo_of_many = importance_weighted_bound(vae, images, 2000, seed=0).values()

    standard_error = torch.tensor(one).std().item() / math.sqrt(len(one))
    assert abs(sum(one) / len(one) - (evidence - gap)) < 4 * standard_error
    assert evidence - gap < few < many
    assert many == pytest.approx(evidence, abs=0.05)
    assert elbo_of_many == pytest.approx(evidence - gap, abs=0.05)


def test_bounds_are_consistent_and_bits_are_per_pixel(images):
    vae = LinearVae()
    metrics = bound_metrics(vae, images, seed=3)

    assert metrics["elbo"] == pytest.approx(vae.evidence(images), abs=0.6)  # the KL is the mean
    assert metrics["elbo"] == pytest.approx(metrics["log_likelihood"] - metrics["kl"], rel=1e-6)
    assert metrics["bits_per_dim"] == pytest.approx(-metrics["elbo"] / SIZE**2 / math.log(2))
    assert metrics == bound_metrics(vae, images, seed=3)


def test_a_dimension_is_active_if_its_posterior_mean_varies(images):
    vae = LinearVae()
    assert active_units(vae, images) == 2

    with torch.no_grad():
        vae.weights[:, 1] *= 1e-3
    assert active_units(vae, images) == 1
