"""The sections of the stages that train classifiers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from latentlab.data.augmentation import mirrors
from latentlab.params.augmentation import Transforms
from latentlab.params.fields import Count, Epochs, Flag, Images, Section, Share
from latentlab.params.networks import Channels, OptimizationParams
from latentlab.params.studies import StudyParams


class LabelEfficiencyParams(Section, title="Label efficiency"):
    """Classifiers that are trained on a few labeled images of each class.

    For each number of labels and each seed, three classifiers are trained: the head on the frozen
    encoder, the head and the encoder, and the same network from scratch.
    """

    labels_per_class: Annotated[tuple[Count | Literal["all"], ...], Field(min_length=1)] = Field(
        description="Numbers of labeled images per class to compare; `all` uses every label."
    )
    seeds: Count = Field(default=1, description="Repetitions with different seeds.")
    epochs: Epochs = Field(description="Epochs of each training.")
    images_per_epoch: Images = Field(
        description="Images per epoch; the labeled images are repeated up to this number."
    )
    batch_size: Images = Field(default=32, description="Images per optimization step.")


class ClassifierParams(OptimizationParams):
    """Regularization and augmentation, common to all classifiers."""

    label_smoothing: Share = Field(
        default=0.0, description="Label smoothing: probability mass spread evenly over all classes."
    )
    augmentation: Transforms = Field(
        default=(),
        description="Random transforms of the training images, as in `train`. With "
        "RandomHorizontalFlip, predictions use the mean features of an image and its mirror image.",
    )

    @property
    def mirrored(self) -> bool:
        """Whether predictions average an image and its mirror image, as both are trained on."""
        return mirrors(self.augmentation)


class FinetuneParams(ClassifierParams):
    """A classifier on the encoder of the trained autoencoder.

    With `search`, the best values that its study finds replace the values written here.
    """

    head: tuple[Count, ...] = Field(
        default=(64,),
        description="Widths of the layers between latent code and class scores; `[]` means a "
        "single linear layer.",
    )
    freeze_encoder: Flag = Field(
        default=False, description="Whether only the head is trained, on a fixed encoder."
    )
    unfreeze_after: Epochs | None = Field(
        default=None,
        description="With freeze_encoder: epochs after which the encoder is trained too; null "
        "keeps it frozen.",
    )
    scratch_baseline: Flag = Field(
        default=False,
        description="Whether the same network is also trained from scratch, with equal settings.",
    )
    label_efficiency: LabelEfficiencyParams | None = Field(
        default=None, description="Comparison of classifiers on few labels; null skips it."
    )
    search: StudyParams | None = Field(
        default=None,
        description="A study over parameters of this section, such as `finetune.head`; null uses "
        "the values written here.",
    )

    @model_validator(mode="after")
    def _only_frozen_encoders_are_unfrozen(self) -> "FinetuneParams":
        if self.unfreeze_after is not None and not self.freeze_encoder:
            raise ValueError("unfreeze_after needs freeze_encoder: true")
        return self


class ReferenceParams(ClassifierParams):
    """The reference classifier, whose features are used to evaluate generated images.

    Without class labels it is trained to predict rotations of images by multiples of 90 degrees.
    """

    channels: Channels = Field(
        default=(16, 32),
        description="Output channels of each convolution, which halves the image size.",
    )
    features: Count = Field(default=64, description="Dimension of the features that are compared.")
    dropout: Share = Field(
        default=0.0, description="Dropout probability before and after the feature layer."
    )
