"""The sections of the stages that learn to draw images."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from latentlab.params.fields import (
    Count,
    Flag,
    Fraction,
    NotNegative,
    Positive,
    Precision,
    Section,
    Share,
)
from latentlab.params.networks import NetworkParams


class VaeParams(NetworkParams):
    """A variational autoencoder; see `models.vae`."""

    likelihood: Literal["gaussian", "squared_error", "bernoulli"]
    scale: Positive | None = None
    beta: NotNegative
    warmup_epochs: Annotated[int, Strict(), Field(ge=0)] = 0
    free_bits: NotNegative = 0.0

    @model_validator(mode="after")
    def _likelihood_is_possible(self) -> "VaeParams":
        if self.scale is not None and self.likelihood != "gaussian":
            raise ValueError(f"scale belongs to the likelihood gaussian, not to {self.likelihood}")
        if self.likelihood == "bernoulli" and self.model.output != "sigmoid":
            raise ValueError("the likelihood bernoulli needs model.output: sigmoid")
        return self


class GanParams(Section):
    """A deep convolutional GAN; see `models.gan` and `adversarial`."""

    noise_dim: Count
    channels: Count
    discriminator_channels: Count | None = None
    conditional: Flag = False
    loss: Literal["bce", "hinge", "wasserstein"] = "bce"
    normalization: Literal["batch", "spectral", "none"] = "batch"
    gradient_penalty: NotNegative = 10.0
    label_smoothing: Share = 0.0
    discriminator_steps: Count = 1
    ema_decay: Fraction | None = None
    epochs: Count
    batch_size: Annotated[int, Strict(), Field(ge=2)]
    learning_rate: Positive
    adam_beta1: Share
    precision: Precision = "auto"
    lr_decay_fraction: Share = 0.0
    eval_every: Count = 1
    eval_samples: Annotated[int, Strict(), Field(ge=64)] = 1000

    @property
    def width_of_discriminator(self) -> int:
        """Channels of its layer nearest the image."""
        return self.discriminator_channels or self.channels

    @model_validator(mode="after")
    def _penalty_is_of_single_images(self) -> "GanParams":
        if self.loss == "wasserstein" and self.normalization == "batch":
            raise ValueError(
                "wasserstein with batch normalization: its penalty is on the gradient of each "
                "image by itself; write normalization: spectral, or none"
            )
        if self.label_smoothing and self.loss != "bce":
            raise ValueError(f"label_smoothing belongs to the loss bce, not to {self.loss}")
        return self
