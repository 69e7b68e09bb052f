"""How close reconstructions are to their images, both in [0, 1]."""

import torch
from torch import Tensor


def reconstruction_metrics(outputs: Tensor, images: Tensor) -> dict[str, float]:
    """MSE over pixels and PSNR in dB of outputs against images, both [N, C, S, S] in [0, 1].

    PSNR = 10 log10(1 / MSE) of each image, averaged over images.
    """
    mse = (outputs - images).square().flatten(1).mean(1).double()
    psnr = -10 * torch.log10(mse.clamp_min(1e-10))
    return {"mse": float(mse.mean()), "psnr": float(psnr.mean())}
