"""The sections of `denoise`: how images are corrupted, and what restores them."""

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

CorruptionName = Literal["gaussian", "occlusion", "salt_and_pepper", "blur"]
SHARES = ("occlusion", "salt_and_pepper")
"""Kinds whose severity is a share of the image."""


class CorruptionParams(Section):
    """A way to spoil images, see `data.corruption`; a pair of severities is a range."""

    name: CorruptionName
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
        if self.name in SHARES and high > 1:
            raise ValueError(f"the severity of {self.name} is a share of the image, at most 1")
        return self


class AutoencoderNetworkParams(ConvolutionParams):
    """A denoising autoencoder: a symmetric encoder and decoder."""

    type: Literal["autoencoder"]


class UNetParams(Section):
    """A U-Net; see `models.unet.UNet`."""

    type: Literal["unet"]
    channels: Channels
    activation: Activation


class DenoiserParams(OptimizationParams):
    """A denoising network: an autoencoder, or a U-Net without a bottleneck."""

    corruption: Annotated[tuple[CorruptionParams, ...], Field(min_length=1)]
    clip: Flag = False
    network: Annotated[AutoencoderNetworkParams | UNetParams, Field(discriminator="type")]

    @model_validator(mode="after")
    def _batches_can_be_normalized(self) -> "DenoiserParams":
        if isinstance(self.network, AutoencoderNetworkParams):
            refuse_single_batches(self.network, self.batch_size, "network")
        return self
