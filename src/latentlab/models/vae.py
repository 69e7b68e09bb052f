"""The variational autoencoder with a Gaussian posterior (Kingma and Welling 2014)."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from latentlab.models.io import TrainableModel
from latentlab.models.layers import Decoder, Encoder, mean_squared_error
from latentlab.params.geometry import Architecture

MIN_LOG_SCALE = -4.0
"""Lower bound of the learned log scale; constant pixels would otherwise drive it to -infinity."""

VALIDATION_SEED = 0
"""Seed of the binarization of pixels in evaluation mode."""


@dataclass(frozen=True)
class KlSchedule:
    """Weight and free bits of the KL term during training.

    The weight rises linearly from beta / warmup_epochs in epoch 1 to `beta` in epoch
    `warmup_epochs`, and then stays constant; without warm-up it is always `beta` (Higgins et al.
    2017; Bowman et al. 2016). A latent dimension whose mean KL is below `free_bits`, in nats, is
    not penalized (Kingma et al. 2016).
    """

    beta: float = 1.0
    warmup_epochs: int = 0
    free_bits: float = 0.0

    def beta_at(self, epoch: int) -> float:
        """Return the weight in an epoch, counted from 1."""
        return self.beta * min(1.0, epoch / max(1, self.warmup_epochs))

    def penalty(self, kl: Tensor) -> Tensor:
        """Compute sum_j max(free_bits, mean_n KL_nj) in nats from KL [N, latent_dim]."""
        return kl.mean(0).clamp_min(self.free_bits).sum()


class Vae(TrainableModel):
    """q(z|x) = N(mean(x), diag(exp(log_variance(x)))), p(z) = N(0, I), p(x|z) by `likelihood`.

    `likelihood` is one of:

    - "gaussian": one standard deviation for all pixels, `scale`, which is learned if it is None.
    - "squared_error": a Gaussian of variance 1/2, whose negative log-likelihood is the sum of
      squared errors plus a constant.
    - "bernoulli": of binary pixels, each drawn with its gray value as the probability of 1
      (dynamic binarization), in evaluation mode with a fixed seed.
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
        self.config = {
            "architecture": architecture.config,
            "likelihood": likelihood,
            "scale": scale,
        }
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

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a network from its `config`, with newly initialized weights."""
        return cls(**config | {"architecture": Architecture(**config["architecture"])})

    def start_epoch(self, epoch: int) -> None:
        """Set the weight of the KL term for an epoch, counted from 1."""
        self._beta = self.kl_schedule.beta_at(epoch)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance [N, latent_dim] of q(z|x) for images [N, C, S, S]."""
        features = self.encoder(images)
        # unclamped log-variances can overflow exp() in the first steps
        return self.to_mean(features), self.to_log_variance(features).clamp(-12, 6)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the mean [N, C, S, S] of p(x|z) for latent codes [N, latent_dim]."""
        images: Tensor = self.decoder(codes)
        return images

    def latent_codes(self, images: Tensor) -> Tensor:
        """Return posterior means [N, latent_dim] of images [N, C, S, S].

        (For "bernoulli", of images binarized by `observed`.)
        """
        return self.encode(self.observed(images))[0]

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images [N, C, S, S] from their posterior means."""
        return self.decode(self.latent_codes(images))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Return mean images [count, C, S, S] of latent codes drawn from the prior."""
        codes = torch.randn(count, self.architecture.latent_dim, generator=generator)
        return self.decode(codes.to(next(self.parameters()).device))

    def observed(self, images: Tensor) -> Tensor:
        """Return the images that the likelihood models: `images`, or binary draws from them."""
        if self.likelihood != "bernoulli":
            return images
        random = None
        if not self.training:
            random = torch.Generator(images.device).manual_seed(VALIDATION_SEED)
        return torch.bernoulli(images, generator=random)

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the negative ELBO with a weighted KL term, in nats per image.

        loss = -E_q[log p(x|z)] + weight * KL(q(z|x) || p(z)), with one sample of z per image
        (equation 3 of Kingma and Welling 2014). In training mode the weight follows the warm-up
        and `free_bits` applies; in evaluation mode the weight is `beta`. `elbo` is not weighted.
        `sampled_mse` is the MSE of the reconstruction from one posterior sample. Labels are not
        used.
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
        """Compute log p(x|z) per image [N], in nats, for decoder outputs [N, C, S, S].

        p is a density for Gaussian likelihoods, with pixels on the [0, 1] scale, and a probability
        for "bernoulli".
        """
        if self.likelihood == "bernoulli":
            # autocast rejects binary_cross_entropy in bfloat16
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
        return self.log_scale.clamp_min(MIN_LOG_SCALE)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute KL(N(mean, exp(log_variance)) || N(0, 1)) of each dimension [N, latent_dim], in nats.

    1/2 (exp(log_variance) + mean^2 - 1 - log_variance), appendix B of Kingma and Welling 2014.
    """
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance)
