"""The sections of the stages that train classifiers."""

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from latentlab.params.fields import Count, Flag, Section, Share
from latentlab.params.networks import Channels, OptimizationParams
from latentlab.params.studies import StudyParams


class LabelEfficiencyParams(Section):
    """Classifiers that see the labels of `per_class` images of each class only.

    With each of them the head is trained on the frozen encoder, on the encoder, and on a fresh one;
    all of it for several seeds. In an epoch these images are repeated up to `images`.
    """

    labels_per_class: Annotated[tuple[Count | Literal["all"], ...], Field(min_length=1)]
    seeds: Count
    epochs: Count
    images_per_epoch: Count
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
    scratch_baseline: Flag = False
    search: StudyParams | None = None
    label_efficiency: LabelEfficiencyParams | None = None

    @model_validator(mode="after")
    def _thaws_what_is_frozen(self) -> "FinetuneParams":
        if self.unfreeze_after is not None and not self.freeze_encoder:
            raise ValueError("unfreeze_after needs freeze_encoder: true")
        return self


class ReferenceParams(OptimizationParams):
    """The reference classifier; see `models.reference`."""

    channels: Channels
    features: Count
    dropout: Share = 0.0
    label_smoothing: Share = 0.0
    flip: Flag = False
    shift: Annotated[int, Strict(), Field(ge=0)] = 0
