"""The sections that describe a symmetric network and its optimization."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from latentlab.params.augmentation import Transforms
from latentlab.params.fields import (
    SEARCH,
    Count,
    Epochs,
    Flag,
    Fraction,
    NotNegative,
    Positive,
    Precision,
    Searchable,
    Section,
    Share,
    Unit,
)

MAX_LAYERS = 8

Activation = Literal["relu", "leaky_relu", "silu", "gelu", "elu"]
Optimizer = Literal[
    "adam", "adamw", "adamax", "adagrad", "radam", "nadam", "sgd", "rmsprop", "muon"
]
Channels = Annotated[tuple[Count, ...], Field(min_length=1, max_length=MAX_LAYERS)]
Widths = Count | Annotated[tuple[Count, ...], Field(max_length=MAX_LAYERS)]
Kernel = Annotated[int, Strict(), Field(ge=1, le=11)]
Stride = Annotated[int, Strict(), Field(ge=1, le=8)]
Padding = Annotated[int, Strict(), Field(ge=0, le=10)]
_SEARCHABLE = Searchable()


class ConvolutionParams(Section, title="Encoder and decoder"):
    """A symmetric convolutional encoder and decoder; see `params.geometry.Architecture`."""

    channels: Annotated[Channels, _SEARCHABLE] = Field(
        default=(16, 32, 64), description="Output channels of each convolution of the encoder."
    )
    kernel: Annotated[Kernel | tuple[Kernel, ...], Unit("pixels"), _SEARCHABLE] = Field(
        default=3,
        description="Kernel size of all convolutions, or a list with one for each.",
    )
    stride: Annotated[Stride | tuple[Stride, ...], Unit("pixels"), _SEARCHABLE] = Field(
        default=2,
        description="Stride of all convolutions, or a list with one for each.",
    )
    padding: Annotated[
        Padding | tuple[Padding, ...] | Literal["auto"], Unit("pixels"), _SEARCHABLE
    ] = Field(
        default="auto",
        description="Padding of all convolutions, or a list with one for each. `auto` "
        "divides the image size by the stride.",
    )
    hidden: Annotated[Widths, _SEARCHABLE] = Field(
        default=128,
        description="Widths of the linear layers between the convolutions and the latent code: one "
        "number, or a list; `[]` means no such layer.",
    )
    latent_dim: Annotated[int, Strict(), Field(ge=1, le=4096), _SEARCHABLE] = Field(
        default=8, description="Dimension of the latent code."
    )
    activation: Annotated[Activation, _SEARCHABLE] = Field(
        default="silu", description="Activation function after each hidden layer."
    )
    dropout: Annotated[Share, _SEARCHABLE] = Field(
        default=0.0, description="Dropout probability after each hidden layer."
    )
    batch_norm: Annotated[Flag, _SEARCHABLE] = Field(
        default=False, description="Whether batch normalization precedes each activation."
    )
    upsampling: Annotated[Literal["subpixel", "transposed"], _SEARCHABLE] = Field(
        default="subpixel",
        description="Upsampling in the decoder: sub-pixel or transposed convolutions.",
    )
    normalize: Annotated[Flag, _SEARCHABLE] = Field(
        default=False,
        description="Whether the encoder standardizes images by the mean and standard deviation of "
        "each channel of the training split.",
    )
    output: Annotated[Literal["sigmoid", "linear"], _SEARCHABLE] = Field(
        default="sigmoid", description="Output activation of the decoder."
    )


class OptimizationSettings(Section):
    """Settings of the optimizer, its schedule and regularization, shared by several stages.

    The sections `train`, `denoise.*`, `finetune`, `reference` and `vae` have the same keys. They
    inherit the value of each key that they do not contain.
    """

    patience: Annotated[Epochs | None, _SEARCHABLE] = Field(
        default=None,
        description="Early stopping: epochs without an improvement of the validation loss before "
        "training stops; null trains for all epochs.",
    )
    min_delta: Annotated[NotNegative, _SEARCHABLE] = Field(
        default=0.0,
        description="Early stopping: smallest decrease of the validation loss that counts as an "
        "improvement.",
    )
    batch_size: Annotated[Count, Unit("images"), _SEARCHABLE] = Field(
        default=32, description="Images per optimization step."
    )
    optimizer: Annotated[Optimizer, _SEARCHABLE] = Field(
        default="adamw",
        description="Optimizer, as implemented in torch.optim. `muon` trains weight matrices with "
        "Muon and all other parameters with AdamW.",
    )
    learning_rate: Annotated[Positive, _SEARCHABLE] = Field(
        default=0.004, description="Learning rate; with a schedule, its peak."
    )
    momentum: Annotated[Share, _SEARCHABLE] = Field(
        default=0.9, description="Momentum of the optimizers sgd and muon."
    )
    nesterov: Annotated[Flag, _SEARCHABLE] = Field(
        default=False, description="Whether sgd uses Nesterov momentum."
    )
    weight_decay: Annotated[NotNegative, _SEARCHABLE] = Field(
        default=0.0001,
        description="Weight decay: decoupled for adamw and muon, an L2 penalty for the others.",
    )
    l1: Annotated[NotNegative, _SEARCHABLE] = Field(
        default=0.0, description="Weight of the L1 penalty, the sum of the absolute parameters."
    )
    clip_norm: Annotated[Positive | None, _SEARCHABLE] = Field(
        default=None, description="Largest norm of the gradient; null does not clip gradients."
    )
    ema_decay: Annotated[Fraction | None, _SEARCHABLE] = Field(
        default=None,
        description="Decay per step of an exponential moving average (EMA) of the weights, which "
        "is then evaluated and saved; null uses no average.",
    )
    schedule: Annotated[Literal["one_cycle", "cosine", "step", "constant"], _SEARCHABLE] = Field(
        default="one_cycle", description="Schedule of the learning rate."
    )
    warmup_fraction: Annotated[Share | None, _SEARCHABLE] = Field(
        default=None,
        description="Fraction of the steps in which the learning rate increases to its peak; null "
        "is 0.3 for one_cycle and 0 for the others.",
    )
    step_epochs: Annotated[Epochs, _SEARCHABLE] = Field(
        default=10, description="Schedule step: epochs between two reductions of the learning rate."
    )
    step_factor: Annotated[Fraction, _SEARCHABLE] = Field(
        default=0.1, description="Schedule step: factor of each reduction of the learning rate."
    )
    prune_fraction: Annotated[Share, _SEARCHABLE] = Field(
        default=0.0,
        description="Magnitude pruning: fraction of the remaining weights set to zero after each "
        "epoch in prune_epochs.",
    )
    prune_epochs: Annotated[tuple[Epochs, ...], _SEARCHABLE] = Field(
        default=(), description="Magnitude pruning: epochs after which weights are pruned."
    )
    precision: Precision = Field(
        default="auto",
        description="Number format of forward and backward pass: float32, or bfloat16 where the "
        "processor supports it. `auto` uses bfloat16 on CUDA and float32 elsewhere.",
    )


class OptimizationParams(OptimizationSettings):
    """The optimization of one network: the number of epochs and the settings shared by stages."""

    epochs: Epochs = Field(description="Passes over the training images.")
    augmentation: Annotated[Transforms, _SEARCHABLE] = Field(
        default=(),
        description="Random transforms of the training images, with the names and arguments of "
        "`torchvision.transforms.v2`, such as `[{RandomCrop: {padding: 1}}]`.",
    )

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> "OptimizationParams":
        sgd = self.optimizer == "sgd" and self.nesterov is True
        if sgd and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        # a searched value is the word `search` instead of a value of the field's type
        if isinstance(self.prune_epochs, tuple) and str(self.prune_fraction) != SEARCH:
            self._check_pruning()
        return self

    def _check_pruning(self) -> None:
        if self.prune_epochs and min(self.prune_epochs) > self.epochs:
            raise ValueError(
                f"prune_epochs {list(self.prune_epochs)} must include an epoch of this training, "
                f"which has {self.epochs} epochs"
            )
        if self.prune_fraction > 0 and not self.prune_epochs:
            raise ValueError("prune_fraction needs prune_epochs, the epochs after which to prune")


class NetworkParams(OptimizationParams):
    """A symmetric network and its optimization."""

    model: ConvolutionParams = Field(
        default=ConvolutionParams(), description="The encoder and decoder."
    )

    @model_validator(mode="after")
    def _batches_can_be_normalized(self) -> "NetworkParams":
        reject_batches_of_one(self.model, self.batch_size)
        return self


def reject_batches_of_one(model: ConvolutionParams, batch_size: int, name: str = "model") -> None:
    """Raise ValueError if batch norm would compute the statistics of a single image."""
    if model.batch_norm is True and batch_size == 1:
        raise ValueError(f"{name}.batch_norm needs a batch_size of at least 2")
