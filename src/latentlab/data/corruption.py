"""Ways to spoil images [N, C, S, S] in [0, 1]; every image has its severity [N, 1, 1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

SHARPEST = 1e-3
"""A blur of fewer pixels is none, and would divide by nothing."""


@dataclass(frozen=True)
class CorruptionSpec:
    """One way to spoil images: severities are drawn evenly from `low` to `high`.

    Where there are several kinds, each image gets one of them, by their weights.
    """

    name: str
    low: float
    high: float
    weight: float = 1.0


class Corruption:
    """Spoils images; the same generator, in the same state, spoils them the same."""

    def __init__(self, specs: Sequence[CorruptionSpec], clip: bool = False) -> None:
        self._specs = tuple(specs)
        self._clip = clip

    @property
    def config(self) -> dict[str, Any]:
        """Plain values that `from_config` makes it of."""
        return {"specs": [asdict(spec) for spec in self._specs], "clip": self._clip}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Corruption:
        """The same corruption."""
        return cls([CorruptionSpec(**spec) for spec in config["specs"]], config["clip"])

    @property
    def noise_variance(self) -> float | None:
        """The mean variance of a pixel's noise, where all that is done is to add Gaussian noise.

        Of a severity s drawn evenly from a to b: E[s^2] = (a^2 + ab + b^2) / 3. None elsewhere.
        """
        if self._clip or any(spec.name != "gaussian" for spec in self._specs):
            return None
        total = sum(spec.weight for spec in self._specs)
        squares = (spec.low**2 + spec.low * spec.high + spec.high**2 for spec in self._specs)
        weights = (spec.weight / total / 3 for spec in self._specs)
        return sum(weight * square for weight, square in zip(weights, squares, strict=True))

    @property
    def repeats_itself(self) -> bool:
        """Whether an image is always corrupted alike."""
        severities = {severity for spec in self._specs for severity in (spec.low, spec.high)}
        return all(spec.name == "blur" for spec in self._specs) and len(severities) == 1

    def __call__(self, images: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Return corrupted copies of images [N, C, S, S]; beyond [0, 1] where nothing is clipped."""
        on = {"generator": random, "device": images.device}
        weights = torch.tensor([spec.weight for spec in self._specs], device=images.device)
        chosen = torch.multinomial(weights, len(images), replacement=True, generator=random)
        evenly = torch.rand(len(images), 1, 1, 1, **on)
        corrupted = images.clone()
        for number, spec in enumerate(self._specs):
            mine = (chosen == number).nonzero()[:, 0]
            severity = spec.low + (spec.high - spec.low) * evenly[mine]
            corrupted[mine] = CORRUPTIONS[spec.name](images[mine], severity, random)
        return corrupted.clamp(0, 1) if self._clip else corrupted


def gaussian(images: Tensor, severity: Tensor, random: torch.Generator | None) -> Tensor:
    """Noise of standard deviation `severity` added to every pixel."""
    return images + severity * torch.empty_like(images).normal_(generator=random)


def occlusion(images: Tensor, severity: Tensor, random: torch.Generator | None) -> Tensor:
    """A black square somewhere within the image that covers the share `severity` of it."""
    size = images.shape[-1]
    sides = (severity.sqrt() * size).round()
    corners = torch.rand(len(images), 2, 1, 1, generator=random, device=images.device)
    corners = (corners * (size - sides + 1)).floor()
    along = torch.arange(size, device=images.device)
    top, left = corners[:, :1], corners[:, 1:]
    rows = (along[:, None] >= top) & (along[:, None] < top + sides)
    columns = (along >= left) & (along < left + sides)
    return images.masked_fill(rows & columns, 0.0)


def salt_and_pepper(images: Tensor, severity: Tensor, random: torch.Generator | None) -> Tensor:
    """The share `severity` of the pixels, in all channels, is made white or black."""
    shape = (len(images), 1, *images.shape[2:])
    drawn = torch.rand(shape, generator=random, device=images.device)
    return images.masked_fill(drawn < severity, 0.0).masked_fill(drawn < severity / 2, 1.0)


def blur(images: Tensor, severity: Tensor, random: torch.Generator | None) -> Tensor:
    """A Gaussian blur of standard deviation `severity` in pixels; nothing comes from outside."""
    along = torch.arange(images.shape[-1], dtype=images.dtype, device=images.device)
    squares = (along[:, None] - along).square()
    weights = (-squares / (2 * severity.clamp_min(SHARPEST).square())).softmax(-1)
    return weights @ images @ weights.mT


CORRUPTIONS = {
    "gaussian": gaussian,
    "occlusion": occlusion,
    "salt_and_pepper": salt_and_pepper,
    "blur": blur,
}
