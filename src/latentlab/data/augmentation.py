"""Random augmentation of training images by transforms of `torchvision.transforms.v2`.

All random numbers come from torch's global generators, which are seeded per process and saved in
checkpoints, so augmentation is reproducible and resumes bit-identically.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from latentlab.data.transforms import RandomCrop, RandomHorizontalFlip, RandomVerticalFlip

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Transform = dict[str, dict[str, Any]]
"""One entry of a list `augmentation`: `{name: arguments}`."""

WITHOUT_TORCHVISION: dict[str, Any] = {
    each.__name__: each for each in (RandomHorizontalFlip, RandomVerticalFlip, RandomCrop)
}
"""Transforms that do not need torchvision, which takes seconds to import."""

NAMES = (
    *WITHOUT_TORCHVISION,
    "AugMix",
    "AutoAugment",
    "ColorJitter",
    "ElasticTransform",
    "GaussianBlur",
    "GaussianNoise",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPerspective",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "TrivialAugmentWide",
)
"""Transforms that map an image to a random image of the same shape, with values in [0, 1]."""

_CONTAINER = "it contains other transforms; write these as entries of the list"
_DETECTION = "it is for object detection, and changes the size of images or only their boxes"
_SEVERAL = "it makes several images of one"
_LABELS = "it mixes the images and labels of a batch"
_FIXED = "it changes all images alike, or their shape or type"
REJECTED = {
    **dict.fromkeys(("Compose", "RandomApply", "RandomChoice", "RandomOrder"), _CONTAINER),
    **dict.fromkeys(("MixUp", "CutMix"), _LABELS),
    **dict.fromkeys(("FiveCrop", "TenCrop"), _SEVERAL),
    "Lambda": "its argument is a function",
    "JPEG": "it needs images of integers, and training images are of real numbers",
    **dict.fromkeys(
        (
            "ClampBoundingBoxes",
            "ClampKeyPoints",
            "ConvertBoundingBoxFormat",
            "RandomIoUCrop",
            "RandomResize",
            "RandomShortestSize",
            "RandomZoomOut",
            "SanitizeBoundingBoxes",
            "SanitizeKeyPoints",
            "ScaleJitter",
            "SetClampingMode",
        ),
        _DETECTION,
    ),
    **dict.fromkeys(
        (
            "CenterCrop",
            "ConvertImageDtype",
            "Grayscale",
            "Identity",
            "LinearTransformation",
            "Normalize",
            "PILToTensor",
            "Pad",
            "RGB",
            "Resize",
            "ToDtype",
            "ToImage",
            "ToPILImage",
            "ToPureTensor",
            "ToTensor",
            "UniformTemporalSubsample",
        ),
        _FIXED,
    ),
}
"""Other transforms of torchvision, and why they cannot augment images."""

CHECKED_IMAGES = 64
"""Random images to which a transform is applied when it is checked."""


class Augmentation:
    """Transforms that are applied to every batch one after the other.

    `transforms` are entries `{name: arguments}`, and `image_size` is the width and height of the
    images.
    """

    def __init__(self, transforms: Iterable[Transform], image_size: int) -> None:
        self._transforms = [build_transform(each, image_size) for each in transforms]

    def __bool__(self) -> bool:
        return bool(self._transforms)

    def __call__(self, images: Tensor) -> Tensor:
        """Return augmented images [N, C, S, S] in [0, 1]."""
        for transform in self._transforms:
            images = transform(images)
        return images


def build_transform(entry: Transform, image_size: int) -> Callable[[Tensor], Tensor]:
    """Return a transform of batches; an argument `size` is the image size unless it is given.

    Raises whatever torchvision raises for its arguments, and its warnings as errors.
    """
    ((name, arguments),) = entry.items()
    if "size" in signature_of(name).parameters:
        arguments = {"size": image_size} | arguments
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transform: Callable[[Tensor], Tensor]
        if name in WITHOUT_TORCHVISION:
            transform = WITHOUT_TORCHVISION[name](**arguments)
            return transform
        from latentlab.data.torchvision_transforms import make_transform

        return make_transform(name, arguments)


def signature_of(name: str) -> inspect.Signature:
    """Return the signature of a transform, as in `torchvision.transforms.v2`."""
    if name in WITHOUT_TORCHVISION:
        return inspect.signature(WITHOUT_TORCHVISION[name])
    from torchvision.transforms import v2

    return inspect.signature(getattr(v2, name))


def describe(transforms: Sequence[Transform]) -> str:
    """Return a list of transforms as text, such as `RandomCrop(padding=1)`."""
    texts = []
    for entry in transforms:
        for name, arguments in entry.items():
            texts.append(
                f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})"
            )
    return ", ".join(texts) or "none"


def mirrors(transforms: Iterable[Transform]) -> bool:
    """Return whether images are mirrored horizontally."""
    return any("RandomHorizontalFlip" in entry for entry in transforms)


def check_on_images(
    transform: Transform, shape: Sequence[int], device: torch.device, differentiable: bool
) -> None:
    """Apply a transform to random images of a shape [C, S, S].

    Raises ValueError if it fails, if the result has another shape or type or values outside of
    [0, 1], and, if it must be `differentiable`, if its derivative is missing or zero.
    """
    import torch

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        images = torch.rand(CHECKED_IMAGES, *shape, device=device, requires_grad=differentiable)
        try:
            augmented = build_transform(transform, shape[-1])(images)
            if differentiable:
                (gradient,) = torch.autograd.grad(augmented.sum(), images)
        except Exception as error:  # torchvision raises whatever its kernels run into
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(f"it fails for images of shape {list(shape)}: {reason}") from None
    if augmented.shape != images.shape or augmented.dtype != images.dtype:
        raise ValueError(
            f"it changes images of shape {list(shape)} to {list(augmented.shape[1:])}, "
            f"{augmented.dtype}"
        )
    low, high = float(augmented.detach().min()), float(augmented.detach().max())
    if low < -1e-5 or high > 1 + 1e-5:
        raise ValueError(f"its values are from {low:.3g} to {high:.3g}, outside of [0, 1]")
    if differentiable and not bool(gradient.any()):
        raise ValueError("its derivative is zero")
