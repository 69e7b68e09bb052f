"""The sections of `denoise`: how images are corrupted, and which network restores them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from latentlab.params.fields import Flag, NotNegative, Positive, Section
from latentlab.params.networks import (
    Activation,
    Channels,
    ConvolutionParams,
    OptimizationParams,
    reject_batches_of_one,
)

CorruptionName = Literal["gaussian", "occlusion", "salt_and_pepper", "blur"]
FRACTIONAL = ("occlusion", "salt_and_pepper")
"""Corruptions whose severity is a fraction of the image."""


class CorruptionParams(Section, title="Corruption"):
    """A corruption of images; see `data.corruption`."""

    name: CorruptionName = Field(description="Type of the corruption.")
    severity: NotNegative | tuple[NotNegative, NotNegative] = Field(
        description="Severity, or `[low, high]`, a range from which each image gets its own. "
        "gaussian: standard deviation of the noise. occlusion, salt_and_pepper: fraction of the "
        "image. blur: standard deviation in pixels."
    )
    weight: Positive = Field(
        default=1.0,
        description="Relative frequency of this corruption among those of the list; each image "
        "gets one.",
    )

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest severity."""
        return self.severity if isinstance(self.severity, tuple) else (self.severity,) * 2

    @model_validator(mode="after")
    def _severity_is_possible(self) -> "CorruptionParams":
        low, high = self.ends
        if low > high:
            raise ValueError("severity must be a number, or a range [low, high] with low <= high")
        if self.name in FRACTIONAL and high > 1:
            raise ValueError(f"severity of {self.name} is a fraction of the image, at most 1")
        return self


class AutoencoderNetworkParams(ConvolutionParams, title="Autoencoder network"):
    """A denoising autoencoder: a symmetric encoder and decoder with a latent code."""

    type: Literal["autoencoder"] = Field(description="Type of the network.")


class UNetParams(Section, title="U-Net network"):
    """A U-Net, which has skip connections and no latent code; see `models.unet.UNet`."""

    type: Literal["unet"] = Field(description="Type of the network.")
    channels: Channels = Field(
        default=(16, 32),
        description="Channels of each scale; the first has half the size of the image.",
    )
    activation: Activation = Field(default="silu", description="Activation function.")


class DenoiserParams(OptimizationParams, title="Denoiser"):
    """A denoising network: an autoencoder or a U-Net."""

    corruption: Annotated[tuple[CorruptionParams, ...], Field(min_length=1)] = Field(
        description="Corruptions of the training images; each image gets one of the list."
    )
    clip: Flag = Field(default=False, description="Whether corrupted pixels are clipped to [0, 1].")
    network: Annotated[AutoencoderNetworkParams | UNetParams, Field(discriminator="type")] = Field(
        description="The network: `{type: autoencoder, ...}` or `{type: unet, ...}`."
    )

    @model_validator(mode="after")
    def _batches_can_be_normalized(self) -> "DenoiserParams":
        if isinstance(self.network, AutoencoderNetworkParams):
            reject_batches_of_one(self.network, self.batch_size, "network")
        return self
