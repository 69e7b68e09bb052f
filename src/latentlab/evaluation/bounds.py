"""What a VAE says about images: bounds of their log-likelihood, and how much of its code it uses.

Nats and bits are those of its likelihood: of a density over pixels in [0, 1], or of pixels that are
0 or 1. Figures of two likelihoods have nothing to do with each other.
"""

import math

import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.models.inference import apply_in_batches, in_batches, mean_terms
from latentlab.models.vae import Vae

ACTIVE_VARIANCE = 0.01


def bound_metrics(vae: Vae, images: ImageSet, seed: int) -> dict[str, float]:
    """ELBO, KL and log-likelihood in nats per image, with one posterior sample each.

    `bits_per_dim` is -ELBO / (D log 2), D the values of an image: pixels times channels.
    """
    torch.manual_seed(seed)  # whatever was drawn for other models before
    terms = mean_terms(vae, images)
    pixels = images.pixels
    return {
        "elbo": terms["elbo"],
        "kl": terms["kl"],
        "log_likelihood": -terms["reconstruction"],
        "bits_per_dim": -terms["elbo"] / (pixels * math.log(2)),
        "active_units": active_units(vae, images),
    }


def active_units(vae: Vae, images: ImageSet) -> int:
    """Dimensions whose posterior mean varies over images by more than 0.01 (Burda et al. 2016)."""
    means = apply_in_batches(vae.means, in_batches(images))
    return int((means.var(0) > ACTIVE_VARIANCE).sum())


def importance_weighted_bound(
    vae: Vae, images: ImageSet, samples: int, seed: int
) -> dict[str, float]:
    """`iwae`, E log 1/k sum_i p(x, z_i) / q(z_i|x) with k samples, in nats (Burda et al. 2016).

    It comes closer to log p(x) from below the more samples there are. `iwae_elbo` is the ELBO by
    the same samples of the same images, which never is above it.
    """
    random = torch.Generator().manual_seed(seed)

    def bound(batch: Tensor) -> Tensor:
        batch = vae.observed(batch)
        mean, log_variance = vae.encode(batch)
        weights = torch.stack(
            [_log_weight(vae, batch, mean, log_variance, random) for _ in range(samples)]
        )
        tighter = weights.logsumexp(0) - math.log(samples)
        return torch.stack([tighter, weights.mean(0)], 1)

    bounds = apply_in_batches(bound, in_batches(images)).double().mean(0).tolist()
    return dict(zip(("iwae", "iwae_elbo"), bounds, strict=True))


def _log_weight(
    vae: Vae, images: Tensor, mean: Tensor, log_variance: Tensor, random: torch.Generator
) -> Tensor:
    """Log p(x|z) p(z) / q(z|x) [N] for one z drawn from q; the constants of p and q cancel."""
    noise = torch.randn(mean.shape, generator=random)
    codes = mean + noise * (log_variance / 2).exp()
    ratio = 0.5 * (noise.square() + log_variance - codes.square()).sum(1)
    return vae.log_likelihood(vae.decode(codes), images) + ratio
