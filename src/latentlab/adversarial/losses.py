"""What the two players of a GAN minimise, by name.

- bce: Goodfellow et al. 2014; the generator's is the non-saturating one.
- hinge: Lim and Ye 2017.
- wasserstein: Arjovsky et al. 2017, with the gradient penalty of Gulrajani et al. 2017.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, relu


def discriminator_loss(
    name: str, real: Tensor, generated: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Loss of the discriminator from its logits [N] for real and for generated images.

    Of bce, real images have the label 1 - `smoothing`.
    """
    if name == "hinge":
        return relu(1 - real).mean() + relu(1 + generated).mean()
    if name == "wasserstein":
        return generated.mean() - real.mean()
    on_real = binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing))
    on_generated = binary_cross_entropy_with_logits(generated, torch.zeros_like(generated))
    return on_real + on_generated


def generator_loss(name: str, generated: Tensor) -> Tensor:
    """Loss of the generator from the discriminator's logits [N] for its images."""
    if name == "bce":
        return binary_cross_entropy_with_logits(generated, torch.ones_like(generated))
    return -generated.mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor, shares: Tensor
) -> Tensor:
    """E (|grad D(x)| - 1)^2 at mixtures x of real and generated images [N, C, S, S].

    `shares` [N] are those of the real ones, from 0 to 1.
    """
    shares = shares[:, None, None, None]
    mixed = (shares * real + (1 - shares) * generated).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(mixed).sum(), mixed, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
