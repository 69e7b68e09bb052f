"""The classifier that is fine-tuned from the encoder of an autoencoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classification import ClassifierTrainingOptions, ImageClassifier
from latentlab.models.io import load_model
from latentlab.params.classification import FinetuneParams
from latentlab.params.geometry import Architecture


class Classifier(ImageClassifier):
    """The encoder of an autoencoder up to its latent code, followed by a classification head.

    The head consists of linear layers of widths `head` with ReLU, and a linear layer for logits.
    """

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
        autoencoder = Autoencoder(architecture)
        self.encoder = nn.Sequential(autoencoder.encoder, autoencoder.to_code)
        widths = (architecture.latent_dim, *head)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, head, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.head = nn.Sequential(*layers)
        self.to_logits = nn.Linear(widths[-1], classes)
        self._frozen = freeze_encoder
        # an encoder that is unfrozen later stays trainable, so that the optimizer includes it
        if freeze_encoder and self.training_options.unfreeze_after is None:
            self.encoder.requires_grad_(False)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a network from its `config`, with newly initialized weights."""
        return cls(**config | {"architecture": Architecture(**config["architecture"])})

    @classmethod
    def from_autoencoder(
        cls,
        autoencoder: Autoencoder,
        head: Sequence[int],
        classes: int,
        freeze_encoder: bool,
        training_options: ClassifierTrainingOptions | None = None,
        mirrored: bool = False,
    ) -> Self:
        """Build a classifier whose encoder starts from the weights of `autoencoder`."""
        classifier = cls(
            autoencoder.architecture, head, classes, freeze_encoder, training_options, mirrored
        )
        source = nn.Sequential(autoencoder.encoder, autoencoder.to_code)
        classifier.encoder.load_state_dict(source.state_dict())
        return classifier

    def start_epoch(self, epoch: int) -> None:
        """Unfreeze the encoder if `epoch` (from 1) comes after `unfreeze_after`."""
        last = self.training_options.unfreeze_after
        if self._frozen and last is not None:
            self._frozen = epoch <= last
            self.encoder.requires_grad_(not self._frozen)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen encoder stays in evaluation mode (dropout, batch norm)."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def latent_codes(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] in [0, 1] to the latent codes [N, latent_dim] of the encoder."""
        codes: Tensor = self.encoder(images)
        return codes

    def embed(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] in [0, 1] to features [N, F]."""
        features: Tensor = self.head(self.encoder(images))
        return features


def build_classifier(
    autoencoder_dir: Path, settings: FinetuneParams, classes: int, from_scratch: bool = False
) -> Classifier:
    """Build the classifier that `settings` describe on the autoencoder saved in a folder.

    `from_scratch` uses the architecture of its encoder with newly initialized weights.
    """
    autoencoder = load_model(Autoencoder, autoencoder_dir)
    if from_scratch:
        autoencoder = Autoencoder(autoencoder.architecture)
    training_options = ClassifierTrainingOptions(settings.unfreeze_after, settings.label_smoothing)
    return Classifier.from_autoencoder(
        autoencoder,
        settings.head,
        classes,
        settings.freeze_encoder,
        training_options,
        settings.mirrored,
    )
