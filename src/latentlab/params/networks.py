"""The sections that describe a symmetric network and its training."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from latentlab.params.fields import (
    SEARCH,
    Count,
    Flag,
    Fraction,
    NotNegative,
    Positive,
    Precision,
    Searchable,
    Section,
    Share,
)

MOST_LAYERS = 8

Activation = Literal["relu", "leaky_relu", "silu", "gelu", "elu"]
Optimizer = Literal[
    "adam", "adamw", "adamax", "adagrad", "radam", "nadam", "sgd", "rmsprop", "muon"
]
Channels = Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_LAYERS)]
Widths = Count | Annotated[tuple[Count, ...], Field(max_length=MOST_LAYERS)]
Kernel = Annotated[int, Strict(), Field(ge=1, le=11)]
Stride = Annotated[int, Strict(), Field(ge=1, le=8)]
Padding = Annotated[int, Strict(), Field(ge=0, le=10)]


class ConvolutionParams(Section):
    """A symmetric convolutional encoder and decoder; see `architecture.Architecture`."""

    channels: Annotated[Channels, Searchable]
    kernel: Annotated[Kernel | tuple[Kernel, ...], Searchable] = 3
    stride: Annotated[Stride | tuple[Stride, ...], Searchable] = 2
    padding: Annotated[Padding | tuple[Padding, ...] | Literal["auto"], Searchable] = "auto"
    hidden: Annotated[Widths, Searchable]
    latent_dim: Annotated[int, Strict(), Field(ge=1, le=4096), Searchable]
    activation: Annotated[Activation, Searchable]
    dropout: Annotated[Share, Searchable] = 0.0
    batch_norm: Annotated[Flag, Searchable] = False
    upsampling: Annotated[Literal["subpixel", "transposed"], Searchable]
    normalize: Annotated[Flag, Searchable] = False
    output: Annotated[Literal["sigmoid", "linear"], Searchable] = "sigmoid"


class OptimizationParams(Section):
    """What every stage with one loss shares: budget, optimiser, schedule and regularisers."""

    epochs: Count
    patience: Annotated[Count | None, Searchable]
    min_delta: Annotated[NotNegative, Searchable] = 0.0
    batch_size: Annotated[Count, Searchable]
    optimizer: Annotated[Optimizer, Searchable]
    learning_rate: Annotated[Positive, Searchable]
    momentum: Annotated[Share, Searchable] = 0.9
    nesterov: Annotated[Flag, Searchable] = False
    weight_decay: Annotated[NotNegative, Searchable]
    l1: Annotated[NotNegative, Searchable] = 0.0
    clip_norm: Annotated[Positive | None, Searchable] = None
    ema_decay: Annotated[Fraction | None, Searchable] = None
    schedule: Annotated[Literal["one_cycle", "cosine", "step", "constant"], Searchable]
    warmup_fraction: Annotated[Share | None, Searchable] = None
    step_epochs: Annotated[Count, Searchable] = 10
    step_factor: Annotated[Fraction, Searchable] = 0.1
    prune_fraction: Annotated[Share, Searchable] = 0.0
    prune_epochs: Annotated[tuple[Count, ...], Searchable] = ()
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _does_what_it_says(self) -> "OptimizationParams":
        sgd = self.optimizer == "sgd" and self.nesterov is True
        if sgd and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if isinstance(self.prune_epochs, tuple) and self.prune_fraction != SEARCH:
            self._refuse_idle_pruning()
        return self

    def _refuse_idle_pruning(self) -> None:
        if self.prune_epochs and min(self.prune_epochs) > self.epochs:
            raise ValueError(f"prune_epochs come after the last of {self.epochs} epochs")
        if self.prune_fraction > 0 and not self.prune_epochs:
            raise ValueError("prune_fraction needs prune_epochs, after which it is pruned")


class NetworkParams(OptimizationParams):
    """A symmetric network and its training."""

    model: ConvolutionParams

    @model_validator(mode="after")
    def _batches_can_be_normalised(self) -> "NetworkParams":
        refuse_single_batches(self.model, self.batch_size)
        return self


def refuse_single_batches(model: ConvolutionParams, batch_size: int, name: str = "model") -> None:
    """Raise ValueError where batch norm would have the statistics of one image."""
    if model.batch_norm is True and batch_size == 1:
        raise ValueError(f"{name}.batch_norm needs a batch_size of at least 2")
