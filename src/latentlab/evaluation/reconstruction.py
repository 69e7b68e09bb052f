"""How close reconstructions are to their images, both in [0, 1]."""

from collections.abc import Callable

import torch
from torch import Tensor

from latentlab.data.image_set import ImageSet
from latentlab.networks.inference import apply_in_batches, in_batches


def reconstruction_metrics(model: Callable[[Tensor], Tensor], images: ImageSet) -> dict[str, float]:
    """MSE over pixels in [0, 1] and PSNR in dB of a model that returns what it was given.

    PSNR = 10 log10(1 / MSE) of each image, averaged over images.
    """

    def error(batch: Tensor) -> Tensor:
        return (model(batch) - batch).square().flatten(1).mean(1)

    mse = apply_in_batches(error, in_batches(images)).double()
    psnr = -10 * torch.log10(mse.clamp_min(1e-10))
    return {"mse": float(mse.mean()), "psnr": float(psnr.mean())}
