"""Bounds of the log-likelihood of images under a VAE, and the number of latent dimensions it uses.

Nats and bits refer to the likelihood of the model: a density over pixels in [0, 1] (gaussian), or a
probability of pixels that are 0 or 1 (bernoulli). Values of different likelihoods are not
comparable.
"""

import math

import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.models.inference import apply_in_batches, in_batches, mean_terms
from latentlab.models.vae import Vae

ACTIVE_VARIANCE = 0.01
"""Variance of the posterior mean over images above which a dimension is active."""


def bound_metrics(vae: Vae, images: ImageSet, seed: int) -> dict[str, float]:
    """Return ELBO, KL and log-likelihood in nats per image, from one posterior sample each.

    `bits_per_dim` is -ELBO / (D log 2), where D = C x S x S is the number of values of an image.
    """
    torch.manual_seed(seed)  # independent of earlier random draws in this process
    terms = mean_terms(vae, images)
    return {
        "elbo": terms["elbo"],
        "kl": terms["kl"],
        "log_likelihood": -terms["reconstruction"],
        "bits_per_dim": -terms["elbo"] / (images.pixels * math.log(2)),
        "active_units": active_units(vae, images),
    }


def active_units(vae: Vae, images: ImageSet) -> int:
    """Return the number of dimensions whose posterior mean has a variance above 0.01.

    The variance is taken over images (Burda et al. 2016).
    """
    means = apply_in_batches(vae.latent_codes, in_batches(images))
    return int((means.var(0) > ACTIVE_VARIANCE).sum())


def importance_weighted_bound(
    vae: Vae, images: ImageSet, samples: int, seed: int
) -> dict[str, float]:
    """Return the importance-weighted bound `iwae` in nats per image (Burda et al. 2016).

    It is E log 1/k sum_i p(x, z_i) / q(z_i|x) with k = `samples`, a lower bound of log p(x) that
    gets tighter as k grows. `iwae_elbo` is the ELBO from the same samples of the same images; it is
    never above `iwae`.
    """
    random = torch.Generator().manual_seed(seed)

    def bounds_per_image(batch: Tensor) -> Tensor:
        batch = vae.observed(batch)
        mean, log_variance = vae.encode(batch)
        weights = torch.stack(
            [_log_weight(vae, batch, mean, log_variance, random) for _ in range(samples)]
        )
        iwae = weights.logsumexp(0) - math.log(samples)
        return torch.stack([iwae, weights.mean(0)], 1)

    bounds = apply_in_batches(bounds_per_image, in_batches(images)).double().mean(0).tolist()
    return dict(zip(("iwae", "iwae_elbo"), bounds, strict=True))


def _log_weight(
    vae: Vae, images: Tensor, mean: Tensor, log_variance: Tensor, random: torch.Generator
) -> Tensor:
    """Return log p(x|z) p(z) / q(z|x) [N] for one z drawn from q.

    The normalization constants of p(z) and q(z|x) cancel.
    """
    noise = torch.randn(mean.shape, generator=random)
    codes = mean + noise * (log_variance / 2).exp()
    ratio = 0.5 * (noise.square() + log_variance - codes.square()).sum(1)
    return vae.log_likelihood(vae.decode(codes), images) + ratio
