"""A classifier on the encoder of a trained autoencoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classification import ClassifierTrainingOptions, ImageClassifier
from latentlab.models.io import load_model
from latentlab.params.classification import FinetuneParams
from latentlab.params.geometry import Architecture


class Classifier(ImageClassifier):
    """The encoder and its code, then a head of fully connected layers with ReLU between them."""

    family = "classifier"

    def __init__(
        self,
        architecture: Architecture,
        head: Sequence[int],
        classes: int,
        freeze_encoder: bool,
        training_options: ClassifierTrainingOptions | None = None,
        mirrored: bool = False,
    ) -> None:
        super().__init__(training_options, mirrored)
        self.config = {
            "architecture": architecture.config,
            "head": list(head),
            "classes": classes,
            "freeze_encoder": freeze_encoder,
            "mirrored": mirrored,
        }
        donor = Autoencoder(architecture)
        self.encoder = nn.Sequential(donor.encoder, donor.to_code)
        widths = (architecture.latent_dim, *head)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, head, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.head = nn.Sequential(*layers)
        self.to_logits = nn.Linear(widths[-1], classes)
        self._frozen = freeze_encoder
        # what is frozen at first only has a place in the optimiser from the start
        if freeze_encoder and self.training_options.unfreeze_after is None:
            self.encoder.requires_grad_(False)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Classifier":
        """The same network, with fresh weights."""
        return cls(**config | {"architecture": Architecture(**config["architecture"])})

    @classmethod
    def from_autoencoder(
        cls,
        donor: Autoencoder,
        head: Sequence[int],
        classes: int,
        freeze_encoder: bool,
        training_options: ClassifierTrainingOptions | None = None,
        mirrored: bool = False,
    ) -> "Classifier":
        """A classifier that starts from the encoder weights of `donor`."""
        classifier = cls(
            donor.architecture, head, classes, freeze_encoder, training_options, mirrored
        )
        classifier.encoder.load_state_dict(nn.Sequential(donor.encoder, donor.to_code).state_dict())
        return classifier

    def start_epoch(self, epoch: int) -> None:
        """Have the encoder learn from now on, where it was to be frozen for so long."""
        last = self.training_options.unfreeze_after
        if self._frozen and last is not None:
            self._frozen = epoch <= last
            self.encoder.requires_grad_(not self._frozen)

    def train(self, mode: bool = True) -> "Classifier":
        """Training mode; a frozen encoder stays as it is, its dropout and batch norm too."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """Features [N, F] of images [N, C, S, S] in [0, 1]."""
        return self.head(self.encoder(images))


def classifier_on(
    trained: Path, settings: FinetuneParams, classes: int, fresh: bool = False
) -> Classifier:
    """A classifier on the encoder that is stored in `trained`, or on a `fresh` one like it."""
    donor = load_model(Autoencoder, trained)
    if fresh:
        donor = Autoencoder(donor.architecture)
    training_options = ClassifierTrainingOptions(
        settings.unfreeze_after, settings.label_smoothing, settings.flip, settings.shift
    )
    return Classifier.from_autoencoder(
        donor, settings.head, classes, settings.freeze_encoder, training_options, settings.flip
    )
