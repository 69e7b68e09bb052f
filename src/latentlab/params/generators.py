"""The sections of the stages that train generative models."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from latentlab.params.augmentation import Transforms
from latentlab.params.fields import (
    Count,
    Epochs,
    Flag,
    Fraction,
    NonNegativeInteger,
    NotNegative,
    Positive,
    Precision,
    Section,
    Share,
    Unit,
)
from latentlab.params.networks import NetworkParams


class VaeParams(NetworkParams):
    """The variational autoencoder; see `models.vae`."""

    likelihood: Literal["gaussian", "squared_error", "bernoulli"] = Field(
        default="gaussian",
        description="Distribution of the pixels given the latent code. `squared_error` is a "
        "Gaussian of variance 1/2; `bernoulli` is for pixels drawn to be 0 or 1.",
    )
    scale: Positive | None = Field(
        default=None, description="Standard deviation of the Gaussian likelihood; null learns it."
    )
    beta: NotNegative = Field(default=1.0, description="Weight of the KL divergence in the loss.")
    warmup_epochs: Annotated[NonNegativeInteger, Unit("epochs")] = Field(
        default=0,
        description="Epochs over which the weight of the KL divergence rises linearly to beta; "
        "epoch 1 has beta / warmup_epochs.",
    )
    free_bits: Annotated[NotNegative, Unit("nats")] = Field(
        default=0.0, description="KL divergence per latent dimension that is not penalized."
    )

    @model_validator(mode="after")
    def _likelihood_is_possible(self) -> "VaeParams":
        if self.scale is not None and self.likelihood != "gaussian":
            raise ValueError(f"scale needs likelihood: gaussian, not {self.likelihood}")
        if self.likelihood == "bernoulli" and self.model.output != "sigmoid":
            raise ValueError("likelihood bernoulli needs model.output: sigmoid")
        return self


class GanParams(Section):
    """The deep convolutional GAN; see `models.gan` and `training.gan`."""

    noise_dim: Count = Field(default=64, description="Dimension of the generator's input noise.")
    channels: Count = Field(
        default=16,
        description="Channels of the generator's layer next to the image; they double towards the "
        "noise.",
    )
    discriminator_channels: Count | None = Field(
        default=None,
        description="Channels of the discriminator's layer next to the image; null is the same as "
        "`channels`.",
    )
    conditional: Flag = Field(
        default=False,
        description="Whether both networks receive the class of each image.",
    )
    loss: Literal["bce", "hinge", "wasserstein"] = Field(
        default="bce",
        description="Adversarial loss: binary cross-entropy, hinge, or Wasserstein with a gradient "
        "penalty.",
    )
    normalization: Literal["batch", "spectral", "none"] = Field(
        default="batch", description="Normalization in the discriminator."
    )
    gradient_penalty: NotNegative = Field(
        default=10.0, description="Loss wasserstein: weight of the gradient penalty."
    )
    label_smoothing: Share = Field(
        default=0.0, description="Loss bce: the target of real images is 1 minus this."
    )
    discriminator_steps: Count = Field(
        default=1, description="Discriminator steps per generator step."
    )
    ema_decay: Fraction | None = Field(
        default=None,
        description="Decay per step of an exponential moving average (EMA) of the generator's "
        "weights, which is then evaluated and saved; null uses no average.",
    )
    epochs: Epochs = Field(description="Passes over the training images.")
    batch_size: Annotated[int, Strict(), Field(ge=2), Unit("images")] = Field(
        default=32, description="Images per optimization step."
    )
    learning_rate: Positive = Field(default=0.0005, description="Learning rate of both networks.")
    adam_beta1: Share = Field(default=0.5, description="First momentum coefficient of Adam.")
    precision: Precision = Field(default="auto", description="Number format, as in `optimization`.")
    lr_decay_fraction: Share = Field(
        default=0.0,
        description="Fraction of the training, at its end, in which the learning rate decreases "
        "linearly to 0.",
    )
    augmentation: Transforms = Field(
        default=(),
        description="Random transforms, as in `train`, of real and generated images before the "
        "discriminator, in the steps of both networks (DiffAugment, Zhao et al. 2020). They must "
        "be differentiable.",
    )
    eval_every: Epochs = Field(
        default=1,
        description="Epochs between two evaluations of samples; the generator with the best result "
        "is saved.",
    )
    eval_samples: Annotated[int, Strict(), Field(ge=64), Unit("images")] = Field(
        default=1000, description="Generated images per evaluation."
    )

    @property
    def width_of_discriminator(self) -> int:
        """Channels of the discriminator's layer next to the image."""
        return self.discriminator_channels or self.channels

    @model_validator(mode="after")
    def _options_fit_the_loss(self) -> "GanParams":
        if self.loss == "wasserstein" and self.normalization == "batch":
            raise ValueError(
                "loss wasserstein needs normalization: spectral or none; its gradient penalty is "
                "defined per image, and batch normalization mixes the images of a batch"
            )
        if self.label_smoothing and self.loss != "bce":
            raise ValueError(f"label_smoothing needs loss: bce, not {self.loss}")
        return self
