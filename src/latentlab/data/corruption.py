"""Image corruptions: functions of images [N, C, S, S] in [0, 1] and severities [N, 1, 1, 1].

Hand-written so that each image has its own severity, drawn from an explicit generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

MIN_BLUR_SIGMA = 1e-3
"""Standard deviation in pixels below which a blur is the identity; it avoids a division by zero."""


@dataclass(frozen=True)
class CorruptionSpec:
    """A corruption with severities drawn uniformly from `low` to `high`.

    In a mixture, each image gets one corruption, drawn with probability proportional to `weight`.
    """

    name: str
    low: float
    high: float
    weight: float = 1.0


class Corruption:
    """A corruption or a mixture of several; it is a function of the images and a generator."""

    def __init__(self, specs: Sequence[CorruptionSpec], clip: bool = False) -> None:
        self._specs = tuple(specs)
        self._clip = clip

    @property
    def config(self) -> dict[str, Any]:
        """Plain values from which `from_config` builds an equal corruption."""
        return {"specs": [asdict(spec) for spec in self._specs], "clip": self._clip}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Corruption:
        """Build a corruption from its `config`."""
        return cls([CorruptionSpec(**spec) for spec in config["specs"]], config["clip"])

    @property
    def noise_variance(self) -> float | None:
        """Mean variance of the noise per pixel; None unless the corruption is Gaussian noise alone.

        For severities drawn uniformly from a to b, E[s^2] = (a^2 + ab + b^2) / 3.
        """
        if self._clip or any(spec.name != "gaussian" for spec in self._specs):
            return None
        total = sum(spec.weight for spec in self._specs)
        squares = (spec.low**2 + spec.low * spec.high + spec.high**2 for spec in self._specs)
        weights = (spec.weight / total / 3 for spec in self._specs)
        return sum(weight * square for weight, square in zip(weights, squares, strict=True))

    @property
    def is_deterministic(self) -> bool:
        """Whether equal images always become equal corrupted images."""
        severities = {severity for spec in self._specs for severity in (spec.low, spec.high)}
        return all(spec.name == "blur" for spec in self._specs) and len(severities) == 1

    def __call__(self, images: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Return corrupted copies of images [N, C, S, S].

        Without clipping, pixels may lie outside [0, 1].
        """
        weights = torch.tensor([spec.weight for spec in self._specs], device=images.device)
        chosen = torch.multinomial(weights, len(images), replacement=True, generator=random)
        uniform = torch.rand(len(images), 1, 1, 1, generator=random, device=images.device)
        corrupted = images.clone()
        for number, spec in enumerate(self._specs):
            indices = (chosen == number).nonzero()[:, 0]
            severity = spec.low + (spec.high - spec.low) * uniform[indices]
            corrupted[indices] = CORRUPTIONS[spec.name](images[indices], severity, random)
        return corrupted.clamp(0, 1) if self._clip else corrupted


def gaussian(images: Tensor, severity: Tensor, random: torch.Generator | None) -> Tensor:
    """Add Gaussian noise of standard deviation `severity` to every pixel."""
    return images + severity * torch.empty_like(images).normal_(generator=random)


def occlusion(images: Tensor, severity: Tensor, random: torch.Generator | None) -> Tensor:
    """Cover the fraction `severity` of each image with a black square at a random position."""
    size = images.shape[-1]
    sides = (severity.sqrt() * size).round()
    corners = torch.rand(len(images), 2, 1, 1, generator=random, device=images.device)
    corners = (corners * (size - sides + 1)).floor()
    positions = torch.arange(size, device=images.device)
    top, left = corners[:, :1], corners[:, 1:]
    rows = (positions[:, None] >= top) & (positions[:, None] < top + sides)
    columns = (positions >= left) & (positions < left + sides)
    return images.masked_fill(rows & columns, 0.0)


def salt_and_pepper(images: Tensor, severity: Tensor, random: torch.Generator | None) -> Tensor:
    """Set the fraction `severity` of the pixels, in all channels, to white or black."""
    shape = (len(images), 1, *images.shape[2:])
    drawn = torch.rand(shape, generator=random, device=images.device)
    return images.masked_fill(drawn < severity, 0.0).masked_fill(drawn < severity / 2, 1.0)


def blur(images: Tensor, severity: Tensor, random: torch.Generator | None) -> Tensor:
    """Blur with a Gaussian of standard deviation `severity` in pixels.

    At the border, the weights are normalized over the pixels within the image. `random` is unused.
    """
    positions = torch.arange(images.shape[-1], dtype=images.dtype, device=images.device)
    squares = (positions[:, None] - positions).square()
    weights = (-squares / (2 * severity.clamp_min(MIN_BLUR_SIGMA).square())).softmax(-1)
    return weights @ images @ weights.mT


CORRUPTIONS = {
    "gaussian": gaussian,
    "occlusion": occlusion,
    "salt_and_pepper": salt_and_pepper,
    "blur": blur,
}
