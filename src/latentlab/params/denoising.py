"""The sections of `denoise`: how images are spoilt, and what restores them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from latentlab.params.fields import Flag, NotNegative, Positive, Section
from latentlab.params.networks import (
    Activation,
    Channels,
    ConvolutionParams,
    OptimizationParams,
    refuse_single_batches,
)

CorruptionKind = Literal["gaussian", "occlusion", "salt_and_pepper", "blur"]
SHARES = ("occlusion", "salt_and_pepper")
"""Kinds whose severity is a share of the image."""


class CorruptionParams(Section):
    """A way to spoil images, see `data.corruption`; a pair of severities is a range."""

    kind: CorruptionKind
    severity: NotNegative | tuple[NotNegative, NotNegative]
    weight: Positive = 1.0

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest severity."""
        return self.severity if isinstance(self.severity, tuple) else (self.severity,) * 2

    @model_validator(mode="after")
    def _is_possible(self) -> "CorruptionParams":
        low, high = self.ends
        if low > high:
            raise ValueError("severity must be a number, or a range from low to high")
        if self.kind in SHARES and high > 1:
            raise ValueError(f"the severity of {self.kind} is a share of the image, at most 1")
        return self


class SkipParams(Section):
    """A U-Net; see `models.unet.UNet`."""

    channels: Channels
    activation: Activation


class DenoiserParams(OptimizationParams):
    """A network that restores spoilt images: an autoencoder `model`, or with `skip` a U-Net."""

    corruption: Annotated[tuple[CorruptionParams, ...], Field(min_length=1)]
    clip: Flag = False
    model: ConvolutionParams | None = None
    skip: SkipParams | None = None

    @model_validator(mode="after")
    def _has_one_network(self) -> "DenoiserParams":
        if (self.model is None) == (self.skip is None):
            raise ValueError("write either `model`, an autoencoder, or `skip`, a U-Net")
        if self.model is not None:
            refuse_single_batches(self.model, self.batch_size)
        return self
