"""How close restored images are to what they were before they were corrupted."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from latentlab.data.corruption import Corruption
from latentlab.data.image_set import ImageSet
from latentlab.models.inference import apply_in_batches, in_batches

Restore = Callable[[Tensor], Tensor]


def corrupted_batches(
    images: ImageSet, corruption: Corruption, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Clean and corrupted images [B, C, S, S] in order; the same seed spoils them the same."""
    random = torch.Generator().manual_seed(seed)
    for clean in in_batches(images):
        yield clean, corruption(clean, random)


@torch.inference_mode()
def restoration_metrics(
    restore: Restore, images: ImageSet, corruption: Corruption, seed: int
) -> dict[str, float]:
    """MSE per pixel to the clean images: of the restored ones, and of the corrupted ones."""
    errors = {"mse": 0.0, "corrupted_mse": 0.0}
    for clean, corrupted in corrupted_batches(images, corruption, seed):
        for name, made in (("mse", restore(corrupted)), ("corrupted_mse", corrupted)):
            errors[name] += _squared_error(made, clean)
    values = len(images) * images.pixels
    return {name: error / values for name, error in errors.items()}


@torch.inference_mode()
def robustness(
    methods: Mapping[str, Restore],
    classify: Restore,
    images: ImageSet,
    corruption: Corruption,
    seed: int,
) -> dict[str, dict[str, float]]:
    """For each method MSE per pixel to the clean images, and accuracy on what it makes of them.

    `classify` gives logits [N, classes] of images.
    """
    errors = dict.fromkeys(methods, 0.0)
    hits = dict.fromkeys(methods, 0)
    batches = corrupted_batches(images, corruption, seed)
    start = 0
    for clean, corrupted in batches:
        labels = images.labels[start : start + len(clean)]
        start += len(clean)
        for name, restore in methods.items():
            made = restore(corrupted)
            errors[name] += _squared_error(made, clean)
            hits[name] += int((classify(made).argmax(1) == labels).sum())
    values = len(images) * images.pixels
    return {
        name: {"mse": errors[name] / values, "accuracy": hits[name] / len(images)}
        for name in methods
    }


def _squared_error(made: Tensor, clean: Tensor) -> float:
    return float((made - clean).square().sum(dtype=torch.float64))


def reconstruction_metrics(model: Callable[[Tensor], Tensor], images: ImageSet) -> dict[str, float]:
    """MSE over pixels in [0, 1] and PSNR in dB of a model that returns what it was given.

    PSNR = 10 log10(1 / MSE) of each image, averaged over images.
    """

    def error(batch: Tensor) -> Tensor:
        return (model(batch) - batch).square().flatten(1).mean(1)

    mse = apply_in_batches(error, in_batches(images)).double()
    psnr = -10 * torch.log10(mse.clamp_min(1e-10))
    return {"mse": float(mse.mean()), "psnr": float(psnr.mean())}
