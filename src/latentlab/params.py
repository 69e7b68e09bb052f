"""The typed schema of `params.yaml` (`params_file` reads it).

A value that the study in `search` may choose is either a plain value or the word `search`:
"take what the study found". `resolve` replaces those words, and from then on everything is plain.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    WrapValidator,
    model_validator,
)

SEARCH = "search"

Searchable = WrapValidator(lambda value, handler: value if value == SEARCH else handler(value))
"""Marks a field that accepts the word `search` beside its own type."""

Activation = Literal["relu", "leaky_relu", "silu", "gelu", "elu"]
Optimizer = Literal["adam", "adamw", "adamax", "adagrad", "radam", "nadam", "sgd", "rmsprop"]
Channels = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=6)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A mapping in `params.yaml`: unknown keys refused, immutable once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def tree(self) -> dict[str, Any]:
        """The section as plain mappings, lists and scalars."""
        # without warnings: the word `search` is not of its field's own type
        return self.model_dump(mode="json", warnings=False)


class DataParams(Section):
    """Which images, at which size, and how they are split."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    image_size: Annotated[int, Field(ge=8, le=256, multiple_of=4)]
    channels: Literal["auto", 1, 3]
    validation_fraction: Fraction
    test_fraction: Fraction


class RuntimeParams(Section):
    """Where and how reproducibly things run; none of it changes what is computed but `seed`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: PositiveInt | Literal["auto"]


class ConvolutionParams(Section):
    """A symmetric convolutional encoder and decoder; every layer halves the image."""

    channels: Annotated[Channels, Searchable]
    hidden: Annotated[PositiveInt, Searchable]
    latent_dim: Annotated[int, Field(ge=1, le=4096), Searchable]
    activation: Annotated[Activation, Searchable]
    upsampling: Annotated[Literal["subpixel", "transposed"], Searchable]


class OptimizationParams(Section):
    """What every stage with one loss shares: budget, optimiser and schedule."""

    epochs: PositiveInt
    patience: PositiveInt | None
    batch_size: Annotated[PositiveInt, Searchable]
    optimizer: Annotated[Optimizer, Searchable]
    learning_rate: Annotated[PositiveFloat, Searchable]
    weight_decay: Annotated[float, Field(ge=0), Searchable]
    schedule: Annotated[Literal["one_cycle", "cosine", "constant"], Searchable]


class IntegerRange(Section):
    """Integers from `low` to `high`, both included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False

    @property
    def examples(self) -> list[Any]:
        """Values that stand for the whole range when it is checked."""
        return [self.low, self.high]

    @model_validator(mode="after")
    def _ordered(self) -> "IntegerRange":
        if self.low > self.high or (self.log and self.low < 1):
            raise ValueError("low must not exceed high, and must be at least 1 with log")
        return self


class FloatRange(Section):
    """Real numbers from `low` to `high`."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @property
    def examples(self) -> list[Any]:
        """Values that stand for the whole range when it is checked; one of them is no integer."""
        return [self.low, math.nextafter(self.low, self.high), self.high]

    @model_validator(mode="after")
    def _ordered(self) -> "FloatRange":
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError("low must not exceed high, and must be above 0 with log")
        return self


class Choices(Section):
    """One of a list of values, lists included."""

    type: Literal["categorical"]
    choices: Annotated[list[Any], Field(min_length=1)]

    @property
    def examples(self) -> list[Any]:
        """Values that stand for the whole range when it is checked."""
        return self.choices


class SearchParams(Section):
    """The study: how many trials, how much training each, and the ranges it explores."""

    trials: PositiveInt
    epochs: PositiveInt
    images: PositiveInt
    sampler: Literal["tpe", "random"]
    space: dict[str, Annotated[IntegerRange | FloatRange | Choices, Field(discriminator="type")]]


class TrainParams(OptimizationParams):
    """The autoencoder and its training."""

    model: ConvolutionParams


class FinetuneParams(OptimizationParams):
    """A classifier on the trained encoder."""

    head: tuple[PositiveInt, ...]
    freeze_encoder: bool


class VaeParams(OptimizationParams):
    """A variational autoencoder."""

    model: ConvolutionParams
    likelihood: Literal["gaussian", "mse"]
    beta: Annotated[float, Field(ge=0)]


class GanParams(Section):
    """A deep convolutional GAN."""

    noise_dim: PositiveInt
    channels: PositiveInt
    epochs: PositiveInt
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: PositiveFloat
    adam_beta1: Annotated[float, Field(ge=0, lt=1)]


class EvaluateParams(Section):
    """How much of the test split the slow parts look at."""

    projected_images: Annotated[int, Field(ge=50)]
    tsne_perplexity: PositiveFloat
    samples: Annotated[int, Field(ge=64)]


class Params(Section):
    """All of `params.yaml`: a section per stage, beside `data` (read by `fetch`) and `runtime`."""

    data: DataParams
    runtime: RuntimeParams
    search: SearchParams
    train: TrainParams
    finetune: FinetuneParams
    vae: VaeParams
    gan: GanParams
    evaluate: EvaluateParams

    @property
    def searched(self) -> tuple[str, ...]:
        """Dotted paths whose value is the word `search`."""
        return tuple(path for path, value in flatten(self.tree()).items() if value == SEARCH)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level of dotted paths."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and path != "search.space":
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def with_values(params: Params, values: dict[str, Any]) -> Params:
    """A copy of `params` with the values at dotted paths replaced, validated anew."""
    tree = params.tree()
    for path, value in values.items():
        *parents, leaf = path.split(".")
        section = tree
        for name in parents:
            section = section[name]
        section[leaf] = value
    return Params.model_validate(tree)


def resolve(params: Params, found: dict[str, Any]) -> Params:
    """Replace each word `search` by the value that the study found for it."""
    return with_values(params, {path: found[path] for path in params.searched})
