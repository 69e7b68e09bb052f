"""The variational autoencoder with a Gaussian posterior (Kingma and Welling 2014)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from latentlab.networks.architecture import Architecture
from latentlab.networks.convolution import Decoder, Encoder, mean_squared_error

SMALLEST_LOG_SCALE = -4.0
"""Bounds the learned scale from below: constant pixels would otherwise drive it to zero."""


class Vae(nn.Module):
    """q(z|x) = N(mean(x), diag(exp(log_variance(x)))), p(z) = N(0, I), p(x|z) by `likelihood`.

    `likelihood` is "gaussian" (one learned scale for all pixels) or "mse" (a Gaussian of fixed
    variance 1/2, so that the negative log-likelihood is the summed squared error).
    """

    family = "vae"

    def __init__(self, architecture: Architecture, likelihood: str, beta: float) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.to_mean = nn.Linear(self.encoder.features, architecture.latent_dim)
        self.to_log_variance = nn.Linear(self.encoder.features, architecture.latent_dim)
        self.decoder = Decoder(architecture)
        self.likelihood = likelihood
        self.beta = beta
        if likelihood == "gaussian":
            self.log_scale = nn.Parameter(torch.tensor(-1.0))

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` builds it from."""
        return {
            "architecture": self.architecture.config,
            "likelihood": self.likelihood,
            "beta": self.beta,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Vae":
        """The same network, with fresh weights."""
        return cls(**config | {"architecture": Architecture(**config["architecture"])})

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance [N, latent_dim] of images [N, C, S, S]."""
        features = self.encoder(images)
        # far outside this range exp() overflows in float32 during the first steps
        return self.to_mean(features), self.to_log_variance(features).clamp(-12, 6)

    def decode(self, codes: Tensor) -> Tensor:
        """Mean images [N, C, S, S] of codes [N, latent_dim]."""
        return self.decoder(codes)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions [N, C, S, S] from the posterior mean."""
        return self.decode(self.encode(images)[0])

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Mean images [count, C, S, S] of codes drawn from the prior."""
        codes = torch.randn(count, self.architecture.latent_dim, generator=generator)
        return self.decode(codes.to(next(self.parameters()).device))

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The negative ELBO with the KL weighted by beta, in nats per image."""
        mean, log_variance = self.encode(images)
        codes = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        outputs = self.decode(codes)
        reconstruction = -self.log_likelihood(outputs, images).mean()
        kl = gaussian_kl(mean, log_variance).mean()
        return {
            "loss": reconstruction + self.beta * kl,
            "reconstruction": reconstruction,
            "kl": kl,
            "elbo": -(reconstruction + kl),
            "sampled_mse": mean_squared_error(outputs, images),
        }

    def log_likelihood(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Log p(x|z) per image [N], in nats."""
        squared = (outputs - images).square().flatten(1).sum(1)
        if self.likelihood == "mse":
            return -squared
        log_scale = self.log_scale.clamp_min(SMALLEST_LOG_SCALE)
        pixels = images[0].numel()
        return -squared / (2 * (2 * log_scale).exp()) - pixels * (
            log_scale + 0.5 * math.log(2 * math.pi)
        )


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) per row [N], in nats.

    1/2 sum(exp(log_variance) + mean^2 - 1 - log_variance), appendix B of Kingma and Welling 2014.
    """
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1)
