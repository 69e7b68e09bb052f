"""The variational autoencoder with a Gaussian posterior (Kingma and Welling 2014)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from latentlab.models.layers import Decoder, Encoder, mean_squared_error
from latentlab.params.geometry import Architecture

SMALLEST_LOG_SCALE = -4.0
"""Bounds the learned scale from below: constant pixels would otherwise drive it to zero."""
VALIDATION_SEED = 0


@dataclass(frozen=True)
class KlSchedule:
    """How hard the KL divergence presses on the posterior while training.

    Its weight `beta` is reached in equal steps over `warmup_epochs`; a dimension whose mean KL is
    below `free_bits`, in nats, is not pressed any further (Kingma et al. 2016).
    """

    beta: float = 1.0
    warmup_epochs: int = 0
    free_bits: float = 0.0

    def beta_in(self, epoch: int) -> float:
        """The weight in an epoch, counted from 1."""
        return self.beta * min(1.0, epoch / max(1, self.warmup_epochs))

    def penalty(self, kl: Tensor) -> Tensor:
        """What is weighted by beta, in nats per image, of KL divergences [N, latent_dim]."""
        return kl.mean(0).clamp_min(self.free_bits).sum()


class Vae(nn.Module):
    """q(z|x) = N(mean(x), diag(exp(log_variance(x)))), p(z) = N(0, I), p(x|z) by `likelihood`.

    `likelihood` is "gaussian" (one standard deviation for all pixels: `scale`, or a learned one
    where that is None), "squared_error" (a Gaussian of variance 1/2, whose negative log-likelihood
    is the summed squared error and a constant) or "bernoulli" (of pixels that are drawn to be 0 or
    1, each with the probability that its grey value is; in evaluation mode by a fixed seed).
    """

    family = "vae"

    def __init__(
        self,
        architecture: Architecture,
        likelihood: str,
        scale: float | None = None,
        kl_schedule: KlSchedule | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.to_mean = nn.Linear(self.encoder.features, architecture.latent_dim)
        self.to_log_variance = nn.Linear(self.encoder.features, architecture.latent_dim)
        self.decoder = Decoder(architecture)
        self.likelihood = likelihood
        self.scale = scale
        self.kl_schedule = kl_schedule or KlSchedule()
        self._beta = self.kl_schedule.beta
        if likelihood == "gaussian" and scale is None:
            self.log_scale = nn.Parameter(torch.tensor(-1.0))

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` builds it from."""
        return {
            "architecture": self.architecture.config,
            "likelihood": self.likelihood,
            "scale": self.scale,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Vae":
        """The same network, with fresh weights."""
        return cls(**config | {"architecture": Architecture(**config["architecture"])})

    def start_epoch(self, epoch: int) -> None:
        """Weigh the KL divergence as it is due in an epoch."""
        self._beta = self.kl_schedule.beta_in(epoch)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log-variance [N, latent_dim] of images [N, C, S, S]."""
        features = self.encoder(images)
        # far outside this range exp() overflows in float32 during the first steps
        return self.to_mean(features), self.to_log_variance(features).clamp(-12, 6)

    def decode(self, codes: Tensor) -> Tensor:
        """Mean images [N, C, S, S] of codes [N, latent_dim]."""
        return self.decoder(codes)

    def means(self, images: Tensor) -> Tensor:
        """Posterior means [N, latent_dim] of images [N, C, S, S] as they are observed."""
        return self.encode(self.observed(images))[0]

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions [N, C, S, S] from the posterior mean."""
        return self.decode(self.means(images))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Mean images [count, C, S, S] of codes drawn from the prior."""
        codes = torch.randn(count, self.architecture.latent_dim, generator=generator)
        return self.decode(codes.to(next(self.parameters()).device))

    def observed(self, images: Tensor) -> Tensor:
        """What the likelihood is of: the images, or zeros and ones drawn from them."""
        if self.likelihood != "bernoulli":
            return images
        random = None
        if not self.training:
            random = torch.Generator(images.device).manual_seed(VALIDATION_SEED)
        return torch.bernoulli(images, generator=random)

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The negative ELBO with the KL weighted, in nats per image.

        In training mode the weight is that of the epoch, else beta.
        """
        images = self.observed(images)
        mean, log_variance = self.encode(images)
        codes = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        outputs = self.decode(codes)
        reconstruction = -self.log_likelihood(outputs, images).mean()
        divergence = gaussian_kl(mean, log_variance)
        kl = divergence.sum(1).mean()
        if self.training:
            penalty = self._beta * self.kl_schedule.penalty(divergence)
        else:
            penalty = self.kl_schedule.beta * kl
        return {
            "loss": reconstruction + penalty,
            "reconstruction": reconstruction,
            "kl": kl,
            "elbo": -(reconstruction + kl),
            "sampled_mse": mean_squared_error(outputs, images),
        }

    def log_likelihood(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Log p(x|z) per image [N], in nats: of a density over [0, 1], or of zeros and ones."""
        if self.likelihood == "bernoulli":
            # in float32, for autocast refuses it otherwise
            outputs, images = outputs.float(), images.float()
            with torch.autocast(images.device.type, enabled=False):
                surprise = binary_cross_entropy(outputs, images, reduction="none")
            return -surprise.flatten(1).sum(1)
        squared = (outputs - images).square().flatten(1).sum(1)
        log_scale = self._log_scale()
        pixels = images[0].numel()
        return -squared / (2 * (2 * log_scale).exp()) - pixels * (
            log_scale + 0.5 * math.log(2 * math.pi)
        )

    def _log_scale(self) -> Tensor:
        if self.likelihood == "squared_error":
            return torch.tensor(math.log(0.5) / 2)
        if self.scale is not None:
            return torch.tensor(math.log(self.scale))
        return self.log_scale.clamp_min(SMALLEST_LOG_SCALE)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) of each dimension [N, latent_dim], in nats.

    1/2 (exp(log_variance) + mean^2 - 1 - log_variance), appendix B of Kingma and Welling 2014.
    """
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance)
