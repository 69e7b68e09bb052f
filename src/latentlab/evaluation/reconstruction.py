"""Reconstruction and restoration errors: how close outputs are to the clean images."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from latentlab.data.corruption import Corruption
from latentlab.data.image_set import ImageSet
from latentlab.models.inference import apply_in_batches, in_batches

Restore = Callable[[Tensor], Tensor]
"""A function of images [N, C, S, S] that returns restored images [N, C, S, S]."""


def reconstruction_metrics(model: Restore, images: ImageSet) -> dict[str, float]:
    """Return MSE over pixels in [0, 1] and PSNR in dB of an autoencoder.

    PSNR = 10 log10(1 / MSE) of each image, averaged over images.
    """

    def error_per_image(batch: Tensor) -> Tensor:
        return (model(batch) - batch).square().flatten(1).mean(1)

    mse = apply_in_batches(error_per_image, in_batches(images)).double()
    psnr = -10 * torch.log10(mse.clamp_min(1e-10))
    return {"mse": float(mse.mean()), "psnr": float(psnr.mean())}


def corrupted_batches(
    images: ImageSet, corruption: Corruption, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield clean and corrupted images [B, C, S, S] in order; the same seed corrupts alike."""
    random = torch.Generator().manual_seed(seed)
    for clean in in_batches(images):
        yield clean, corruption(clean, random)


@torch.inference_mode()
def restoration_metrics(
    restore: Restore, images: ImageSet, corruption: Corruption, seed: int
) -> dict[str, float]:
    """Return the MSE per pixel to the clean images, before and after restoration.

    `mse` is the error of restored images, `corrupted_mse` that of the corrupted images.
    """
    errors = {"mse": 0.0, "corrupted_mse": 0.0}
    for clean, corrupted in corrupted_batches(images, corruption, seed):
        errors["mse"] += _squared_error(restore(corrupted), clean)
        errors["corrupted_mse"] += _squared_error(corrupted, clean)
    values = len(images) * images.pixels
    return {name: error / values for name, error in errors.items()}


@torch.inference_mode()
def robustness(
    methods: Mapping[str, Restore],
    classify: Callable[[Tensor], Tensor],
    images: ImageSet,
    corruption: Corruption,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Return MSE per pixel to the clean images and classification accuracy for each method.

    The accuracy is that of `classify`, which maps images to logits [N, K], on restored images.
    """
    errors = dict.fromkeys(methods, 0.0)
    hits = dict.fromkeys(methods, 0)
    start = 0
    for clean, corrupted in corrupted_batches(images, corruption, seed):
        labels = images.labels[start : start + len(clean)]
        start += len(clean)
        for name, restore in methods.items():
            restored = restore(corrupted)
            errors[name] += _squared_error(restored, clean)
            hits[name] += int((classify(restored).argmax(1) == labels).sum())
    values = len(images) * images.pixels
    return {
        name: {"mse": errors[name] / values, "accuracy": hits[name] / len(images)}
        for name in methods
    }


def _squared_error(output: Tensor, clean: Tensor) -> float:
    return float((output - clean).square().sum(dtype=torch.float64))
