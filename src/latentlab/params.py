"""The typed schema of `params.yaml` (`params_file` reads it).

A value that the study in `search` may choose is either a plain value or the word `search`:
"take what the study found". `resolve` replaces those words, and from then on everything is plain.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from latentlab.fields import (
    SEARCH,
    Count,
    Flag,
    Fraction,
    NoFlag,
    NotNegative,
    Plain,
    Positive,
    Searchable,
    Section,
    Share,
)
from latentlab.search_params import SearchParams, StudyParams

MOST_LAYERS = 8
SHARES = ("occlusion", "salt_and_pepper")

Activation = Literal["relu", "leaky_relu", "silu", "gelu", "elu"]
Optimizer = Literal[
    "adam", "adamw", "adamax", "adagrad", "radam", "nadam", "sgd", "rmsprop", "muon"
]
Channels = Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_LAYERS)]
Widths = Count | Annotated[tuple[Count, ...], Field(max_length=MOST_LAYERS)]
Kernel = Annotated[int, Strict(), Field(ge=1, le=11)]
Stride = Annotated[int, Strict(), Field(ge=1, le=8)]
CorruptionKind = Literal["gaussian", "occlusion", "salt_and_pepper", "blur"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Padding = Annotated[int, Strict(), Field(ge=0, le=10)]


class DataParams(Section):
    """Which images, at which size, and how they are split."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    image_size: Annotated[int, Strict(), Field(ge=8, le=256, multiple_of=4)]
    channels: Annotated[Literal["auto", 1, 3], NoFlag]
    validation_fraction: Fraction
    test_fraction: Fraction


class RuntimeParams(Section):
    """Where and how reproducibly things run; none of it changes what is computed but `seed`."""

    seed: Annotated[int, Strict(), Field(ge=0, lt=2**32)]
    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: Count | Literal["auto"]


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
    warmup: Annotated[Share | None, Searchable] = None
    step_epochs: Annotated[Count, Searchable] = 10
    step_factor: Annotated[Fraction, Searchable] = 0.1
    prune_fraction: Annotated[Share, Searchable] = 0.0
    prune_epochs: Annotated[tuple[Count, ...], Searchable] = ()

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


def refuse_single_batches(model: ConvolutionParams, batch_size: int) -> None:
    """Raise ValueError where batch norm would have the statistics of one image."""
    if model.batch_norm is True and batch_size == 1:
        raise ValueError("model.batch_norm needs a batch_size of at least 2")


class NetworkParams(OptimizationParams):
    """A symmetric network and its training."""

    model: ConvolutionParams

    @model_validator(mode="after")
    def _batches_can_be_normalised(self) -> "NetworkParams":
        refuse_single_batches(self.model, self.batch_size)
        return self


class TrainParams(NetworkParams):
    """The convolutional autoencoder."""

    folds: Annotated[int, Strict(), Field(ge=2)] | None = None


class Comparison(Section):
    """What `compare` varies: one parameter of train, or several at once under names.

    `values` is a list for `parameter`, or a mapping of names to {parameter: value}. Everything
    else is as in `train`, changed by `base`; `epochs` and `images` are the budget of each value.
    """

    base: dict[str, Plain] = Field({})
    parameter: str | None = None
    values: Annotated[list[Plain], Field(min_length=1)] | dict[str, dict[str, Plain]]
    epochs: Count
    images: Count | None = None

    @model_validator(mode="after")
    def _says_what_varies(self) -> "Comparison":
        if (self.parameter is None) != isinstance(self.values, dict):
            raise ValueError(
                "a list of values goes with a parameter, a mapping of names to values without"
            )
        if len(self.variants) < len(self.values):
            raise ValueError("values must differ from each other")
        for name in self.variants:
            if not re.fullmatch(r"[\w-][\w .-]*", name, re.ASCII):  # of runs and figures
                raise ValueError(
                    f"the name '{name}' may have letters, digits, '_', '-', '.' and spaces only"
                )
        return self

    @property
    def numeric(self) -> bool:
        """Whether a curve can be drawn against the value."""
        return isinstance(self.values, list) and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in self.values
        )

    @property
    def varied(self) -> dict[str, dict[str, Any]]:
        """What each variant sets for itself, by its name."""
        if isinstance(self.values, dict):
            return self.values
        return {_short(value): {str(self.parameter): value} for value in self.values}

    @property
    def variants(self) -> dict[str, dict[str, Any]]:
        """What each variant sets, by its name."""
        return {name: self.base | values for name, values in self.varied.items()}


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


class LabelBudgets(Section):
    """Classifiers that see the labels of `per_class` images of each class only.

    With each of them the head is trained on the frozen encoder, on the encoder, and on a fresh one;
    all of it for several seeds. In an epoch these images are repeated up to `images`.
    """

    per_class: Annotated[tuple[Count | Literal["all"], ...], Field(min_length=1)]
    seeds: Count
    epochs: Count
    images: Count
    batch_size: Count


class FinetuneParams(OptimizationParams):
    """A classifier on the trained encoder.

    The best values that a `search` finds take the place of those written here.
    """

    head: tuple[Count, ...]
    freeze_encoder: Flag
    unfreeze_after: Count | None = None
    label_smoothing: Share = 0.0
    flip: Flag = False
    shift: Annotated[int, Strict(), Field(ge=0)] = 0
    control: Flag = False
    search: StudyParams | None = None
    labels: LabelBudgets | None = None

    @model_validator(mode="after")
    def _thaws_what_is_frozen(self) -> "FinetuneParams":
        if self.unfreeze_after is not None and not self.freeze_encoder:
            raise ValueError("unfreeze_after needs freeze_encoder: true")
        return self


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
    decay: Share = 0.0
    judge_every: Count = 1
    judged_samples: Annotated[int, Strict(), Field(ge=64)] = 1000

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


class ReferenceParams(OptimizationParams):
    """The reference classifier; see `models.reference`."""

    channels: Channels
    features: Count
    dropout: Share = 0.0
    label_smoothing: Share = 0.0
    flip: Flag = False
    shift: Annotated[int, Strict(), Field(ge=0)] = 0


class EvaluateParams(Section):
    """How much of the test split the slow parts look at."""

    projected_images: Annotated[int, Strict(), Field(ge=50)]
    tsne_perplexity: Positive
    probe_images: Annotated[int, Strict(), Field(ge=50)]
    walks: Literal["auto"] | tuple[tuple[str, str], ...]
    walk_steps: Annotated[int, Strict(), Field(ge=3)]
    samples: Annotated[int, Strict(), Field(ge=64)]
    importance_samples: Count
    importance_images: Count
    severities: dict[CorruptionKind, Annotated[tuple[NotNegative, ...], Field(min_length=1)]]

    @model_validator(mode="after")
    def _shares_are_at_most_one(self) -> "EvaluateParams":
        for kind in SHARES:
            if max(self.severities.get(kind, (0.0,))) > 1:
                raise ValueError(f"severities of {kind} are shares of the image, at most 1")
        return self


class Params(Section):
    """All of `params.yaml`: a section per stage, beside `data` (read by `fetch`) and `runtime`."""

    data: DataParams
    runtime: RuntimeParams
    search: SearchParams
    train: TrainParams
    compare: dict[Name, Comparison]
    denoise: dict[Name, DenoiserParams]
    finetune: FinetuneParams
    reference: ReferenceParams
    vae: VaeParams
    gan: GanParams
    evaluate: EvaluateParams

    @property
    def searched(self) -> tuple[str, ...]:
        """Dotted paths whose value is the word `search`."""
        return tuple(path for path, value in flatten(self.tree()).items() if value == SEARCH)


def _short(value: Any) -> str:
    """A value as the name of a variant: 8, adam, 8-16-32, and none for an empty list."""
    return "-".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def flatten(tree: dict[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """A nested mapping as one level of paths, dotted unless told otherwise."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and key != "space":
            flat |= flatten(value, f"{path}{separator}", separator)
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
