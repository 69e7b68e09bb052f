"""Reconstruction and restoration errors: how close outputs are to the clean images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlab.data.corruption import Corruption
from latentlab.data.image_set import ImageSet
from latentlab.models.inference import apply_in_batches, in_batches

Restore = Callable[[Tensor], Tensor]
"""A function of images [N, C, S, S] that returns restored images [N, C, S, S]."""


@dataclass(frozen=True)
class Restoration:
    """Errors of restored images.

    `metrics` are `mse`, the error of restored images, and `corrupted_mse`, that of the corrupted
    images; `errors` [N] is the MSE of each restored image.
    """

    metrics: dict[str, float]
    errors: Tensor


def squared_errors(model: Restore, images: ImageSet) -> Tensor:
    """Return the MSE of each reconstructed image over its pixels in [0, 1], as float64 [N]."""

    def error_per_image(batch: Tensor) -> Tensor:
        return (model(batch) - batch).square().flatten(1).mean(1)

    return apply_in_batches(error_per_image, in_batches(images)).double()


def error_metrics(errors: Tensor) -> dict[str, float]:
    """Return MSE over pixels in [0, 1] and PSNR in dB from the MSE of each image [N].

    PSNR = 10 log10(1 / MSE) of each image, averaged over images.
    """
    psnr = -10 * torch.log10(errors.clamp_min(1e-10))
    return {"mse": float(errors.mean()), "psnr": float(psnr.mean())}


def reconstruction_metrics(model: Restore, images: ImageSet) -> dict[str, float]:
    """Return MSE and PSNR of an autoencoder; see `error_metrics`."""
    return error_metrics(squared_errors(model, images))


def corrupted_batches(
    images: ImageSet, corruption: Corruption, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield clean and corrupted images [B, C, S, S] in order; the same seed corrupts alike."""
    random = torch.Generator().manual_seed(seed)
    for clean in in_batches(images):
        yield clean, corruption(clean, random)


@torch.inference_mode()
def restore_images(
    restore: Restore, images: ImageSet, corruption: Corruption, seed: int
) -> Restoration:
    """Corrupt and restore images, and return their errors per pixel to the clean images."""
    totals = {"mse": 0.0, "corrupted_mse": 0.0}
    errors = []
    for clean, corrupted in corrupted_batches(images, corruption, seed):
        squares = (restore(corrupted) - clean).square()
        errors.append(squares.flatten(1).mean(1))
        totals["mse"] += float(squares.sum(dtype=torch.float64))
        totals["corrupted_mse"] += _squared_error(corrupted, clean)
    values = len(images) * images.pixels
    metrics = {name: total / values for name, total in totals.items()}
    return Restoration(metrics, torch.cat(errors).double())


def restoration_metrics(
    restore: Restore, images: ImageSet, corruption: Corruption, seed: int
) -> dict[str, float]:
    """Return the MSE of images before and after restoration; see `Restoration`."""
    return restore_images(restore, images, corruption, seed).metrics


@torch.inference_mode()
def robustness(
    methods: Mapping[str, Restore],
    classify: Callable[[Tensor], Tensor] | None,
    images: ImageSet,
    corruption: Corruption,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Return MSE per pixel to the clean images and classification accuracy for each method.

    The accuracy is that of `classify`, which maps images to logits [N, K], on restored images. It
    is left out without `classify`.
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
            if classify is not None:
                hits[name] += int((classify(restored).argmax(1) == labels).sum())
    values = len(images) * images.pixels
    metrics = {name: {"mse": error / values} for name, error in errors.items()}
    if classify is not None:
        for name, count in hits.items():
            metrics[name]["accuracy"] = count / len(images)
    return metrics


def _squared_error(output: Tensor, clean: Tensor) -> float:
    return float((output - clean).square().sum(dtype=torch.float64))
