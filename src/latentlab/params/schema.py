"""The typed schema of `params.yaml`.

A parameter of `train` is a plain value or the word `search`, which stands for the value that the
stage `search` found. `params.resolve` replaces the word by that value.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from latentlab.params.classification import FinetuneParams, ReferenceParams
from latentlab.params.comparison import Comparison
from latentlab.params.denoising import FRACTIONAL, CorruptionName, DenoiserParams
from latentlab.params.fields import (
    SEARCH,
    Count,
    Flag,
    Fraction,
    Images,
    Integer,
    NoFlag,
    NotNegative,
    Positive,
    Real,
    Section,
    Unit,
    described,
    flatten,
)
from latentlab.params.generators import GanParams, VaeParams
from latentlab.params.networks import NetworkParams, OptimizationSettings
from latentlab.params.studies import SearchParams

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
Name = Annotated[
    str,
    Field(pattern=NAME),
    described(NAME, "a name of ASCII letters, digits, _ and - that starts with a letter or digit"),
]
RESERVED = ("autoencoder", "vae", "identity", "wiener")
"""Names next to those of the denoisers in metrics: models of other stages, and baselines."""


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"must not be one of the reserved names {', '.join(RESERVED)}")
    return name


LABEL_FILE = r"^[^/.\\][^\\]*\.csv$"
LabelFile = Annotated[
    str,
    Field(pattern=LABEL_FILE),
    described(LABEL_FILE, "the path of a CSV file below data/<name>/, such as 'labels.csv'"),
]
DATASET = r"^(torchvision/)?[A-Za-z0-9][A-Za-z0-9_.-]*$"
DatasetName = Annotated[
    str,
    Field(pattern=DATASET),
    described(
        DATASET,
        "a name of ASCII letters, digits, _, - and ., such as 'digits', or one of torchvision, "
        "such as 'torchvision/CIFAR10'",
    ),
]


Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]


def _ascending(levels: tuple[float, float]) -> tuple[float, float]:
    if levels[0] >= levels[1]:
        raise ValueError("must be ascending: [low, high]")
    return levels


class DataParams(Section):
    """Which images are used, at which size, and how they are split."""

    name: DatasetName = Field(
        description="Name of a dataset (digits, fashion-mnist, mnist, kmnist), of a dataset of "
        "torchvision (such as torchvision/CIFAR10), or of a folder data/<name>/ with your own "
        "images."
    )
    options: dict[str, str | Integer] = Field(
        default={},
        description="Arguments of a dataset of torchvision, such as `{split: letters}` for "
        "torchvision/EMNIST.",
    )
    image_size: Annotated[int, Strict(), Field(ge=8, le=256, multiple_of=4), Unit("pixels")] = (
        Field(default=28, description="Width and height to which images are resized.")
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        default="crop",
        description="How images that are not square become square: crop keeps the center, pad adds "
        "black borders, stretch changes the aspect ratio.",
    )
    labels: Literal["folders", "none"] | LabelFile = Field(
        default="folders",
        description="Labels of your own images: folders (the name of the folder is the class), "
        "none, or a CSV file in data/<name>/ with the columns file, label and, optionally, split.",
    )
    scale: Literal["full", "content"] | Annotated[tuple[Real, Real], AfterValidator(_ascending)] = (
        Field(
            default="full",
            description="Values of images with more than 8 bits that become black and white: full "
            "(0 and 65535), content (the smallest and the largest value in all images), or "
            "`[low, high]`.",
        )
    )
    channels: Annotated[Literal["auto", 1, 3], NoFlag] = Field(
        default="auto", description="Color channels: 1 (gray), 3 (RGB), or auto, as in the dataset."
    )
    validation_fraction: Fraction = Field(
        default=0.1,
        description="Fraction of the training images used as the validation split.",
    )
    test_fraction: Fraction = Field(
        default=0.2,
        description="Fraction of all images used as the test split, if the dataset has no "
        "official one.",
    )
    split_seed: Seed = Field(
        default=0,
        description="Seed of the splits that are drawn at random. It differs from `runtime.seed`, "
        "so that runs with other seeds are tested on the same images.",
    )


class RuntimeParams(Section):
    """Where the pipeline runs. Only `seed` changes what is computed."""

    seed: Seed = Field(default=0, description="Seed of all random numbers but those of the splits.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="Device of the trainings; auto is CUDA, else MPS, else the CPU."
    )
    threads: Count | Literal["auto"] = Field(
        default="auto", description="CPU threads; auto is the number of cores."
    )


class TrainParams(NetworkParams):
    """The convolutional autoencoder. A value may be the word `search`."""

    folds: Annotated[int, Strict(), Field(ge=2)] | None = Field(
        default=None, description="Folds of an additional cross-validation; null skips it."
    )


class EvaluateParams(Section):
    """Sizes of the evaluations on the test split."""

    projected_images: Annotated[int, Strict(), Field(ge=50), Unit("images")] = Field(
        default=2000, description="Largest number of test images on the maps of the latent space."
    )
    tsne_perplexity: Positive = Field(default=30.0, description="Perplexity of t-SNE.")
    probe_images: Annotated[int, Strict(), Field(ge=50), Unit("images")] = Field(
        default=10000,
        description="Largest number of training images for the classifiers that predict the class "
        "from the latent code.",
    )
    walks: Literal["auto"] | tuple[tuple[str, str], ...] = Field(
        default="auto",
        description="Interpolations in latent space: pairs of classes such as `[['4', '9']]`. auto "
        "takes the two closest and the two most distant classes.",
    )
    walk_steps: Annotated[int, Strict(), Field(ge=3), Unit("images")] = Field(
        default=10, description="Images of each interpolation."
    )
    samples: Annotated[int, Strict(), Field(ge=64), Unit("images")] = Field(
        default=1000, description="Images that are sampled from each generator."
    )
    importance_samples: Count = Field(
        default=50, description="Importance samples per test image for the IWAE bound of the VAE."
    )
    importance_images: Images = Field(
        default=200, description="Largest number of test images for the IWAE bound."
    )
    clip: Flag = Field(default=False, description="Whether corrupted pixels are clipped to [0, 1].")
    severities: dict[CorruptionName, Annotated[tuple[NotNegative, ...], Field(min_length=1)]] = (
        Field(
            default={
                "gaussian": (0.1, 0.2, 0.3, 0.4, 0.5),
                "occlusion": (0.1, 0.2, 0.3),
                "salt_and_pepper": (0.1, 0.2, 0.3),
                "blur": (0.5, 1.0, 2.0),
            },
            description="`{corruption: severities}` at which all denoising models are compared.",
        )
    )

    @model_validator(mode="after")
    def _fractions_are_at_most_one(self) -> "EvaluateParams":
        for name, severities in self.severities.items():
            if name in FRACTIONAL and max(severities) > 1:
                raise ValueError(f"severities of {name} are fractions of the image, at most 1")
        return self


class Params(Section):
    """All settings of latentlab: one section per stage, and `optimization` and `runtime`."""

    data: DataParams = Field(description="Images and splits; read by the stage fetch.")
    runtime: RuntimeParams = Field(description="Seed, device and threads of all stages.")
    optimization: OptimizationSettings = Field(
        default=OptimizationSettings(),
        description="Optimizer settings that train, denoise.*, finetune, reference and vae inherit "
        "unless they contain the key themselves.",
    )
    search: SearchParams = Field(description="A study over parameters of `train`.")
    train: TrainParams = Field(description="The convolutional autoencoder.")
    compare: dict[Name, Comparison] = Field(
        description="Comparisons; the entry NAME is the stage compare@NAME."
    )
    denoise: dict[Annotated[Name, AfterValidator(_not_reserved)], DenoiserParams] = Field(
        description="Denoising networks; each entry is one network."
    )
    finetune: FinetuneParams = Field(description="A classifier on the trained encoder.")
    reference: ReferenceParams = Field(
        description="The reference classifier, whose features are used to evaluate generated "
        "images."
    )
    vae: VaeParams = Field(description="The variational autoencoder.")
    gan: GanParams = Field(description="The deep convolutional GAN.")
    evaluate: EvaluateParams = Field(description="The evaluation on the test split.")

    @model_validator(mode="before")
    @classmethod
    def _inherit_optimization(cls, document: Any) -> Any:
        return complete_sections(document)

    @property
    def searched(self) -> tuple[str, ...]:
        """Paths of the parameters whose value is the word `search`."""
        return tuple(path for path, value in flatten(self.tree()).items() if value == SEARCH)


INHERITING = ("train", "finetune", "reference", "vae")
"""Sections that inherit from `optimization`; the entries of `denoise` do so too."""


def complete_sections(document: Any) -> Any:
    """Return a copy of a document in which the sections contain what they inherit.

    The value of `optimization` is used for each key that a section does not contain. Parts that
    are not mappings are left unchanged, for the schema to report.
    """
    shared = document.get("optimization") if isinstance(document, dict) else None
    if not isinstance(shared, dict):
        return document
    known = {key: shared[key] for key in OptimizationSettings.model_fields if key in shared}

    def complete(section: Any) -> Any:
        return {**known, **section} if isinstance(section, dict) else section

    sections = {name: complete(document[name]) for name in INHERITING if name in document}
    entries = document.get("denoise")
    if isinstance(entries, dict):
        sections["denoise"] = {name: complete(entry) for name, entry in entries.items()}
    return {**document, **sections}
