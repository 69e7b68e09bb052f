"""The typed schema of `params.yaml` (`params_file` reads it).

A value that the study in `search` may choose is either a plain value or the word `search`:
"take what the study found". `values.resolve` replaces those words; from then on all is plain.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from latentlab.params.classification import FinetuneParams, ReferenceParams
from latentlab.params.comparison import Comparison
from latentlab.params.denoising import SHARES, CorruptionName, DenoiserParams
from latentlab.params.fields import (
    SEARCH,
    Count,
    Flag,
    Fraction,
    NoFlag,
    NotNegative,
    Positive,
    Section,
    flatten,
)
from latentlab.params.generators import GanParams, VaeParams
from latentlab.params.networks import NetworkParams
from latentlab.params.studies import SearchParams

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
TAKEN = ("autoencoder", "vae", "identity", "wiener")
"""What stands beside the denoisers in figures: models of other stages, and the lines to beat."""


def _not_taken(name: str) -> str:
    if name in TAKEN:
        raise ValueError(f"is taken: figures of others stand under {', '.join(TAKEN)}")
    return name


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


class TrainParams(NetworkParams):
    """The convolutional autoencoder."""

    folds: Annotated[int, Strict(), Field(ge=2)] | None = None


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
    clip: Flag = False
    severities: dict[CorruptionName, Annotated[tuple[NotNegative, ...], Field(min_length=1)]]

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
    denoise: dict[Annotated[Name, AfterValidator(_not_taken)], DenoiserParams]
    finetune: FinetuneParams
    reference: ReferenceParams
    vae: VaeParams
    gan: GanParams
    evaluate: EvaluateParams

    @property
    def searched(self) -> tuple[str, ...]:
        """Dotted paths whose value is the word `search`."""
        return tuple(path for path, value in flatten(self.tree()).items() if value == SEARCH)
