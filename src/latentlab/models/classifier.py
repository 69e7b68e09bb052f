"""A classifier on the encoder of a trained autoencoder."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classification import Regularizers
from latentlab.networks.architecture import Architecture


class Classifier(nn.Module):
    """The encoder and its code, then a head of fully connected layers with ReLU between them."""

    family = "classifier"

    def __init__(
        self,
        architecture: Architecture,
        head: Sequence[int],
        classes: int,
        freeze_encoder: bool,
        regularizers: Regularizers | None = None,
    ) -> None:
        super().__init__()
        self.regularizers = regularizers or Regularizers()
        self.config = {
            "architecture": architecture.config,
            "head": list(head),
            "classes": classes,
            "freeze_encoder": freeze_encoder,
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
        if freeze_encoder and self.regularizers.unfreeze_after is None:
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
        regularizers: Regularizers | None = None,
    ) -> "Classifier":
        """A classifier that starts from the encoder weights of `donor`."""
        classifier = cls(donor.architecture, head, classes, freeze_encoder, regularizers)
        classifier.encoder.load_state_dict(nn.Sequential(donor.encoder, donor.to_code).state_dict())
        return classifier

    def start_epoch(self, epoch: int) -> None:
        """Have the encoder learn from now on, where it was to be frozen for so long."""
        last = self.regularizers.unfreeze_after
        if self._frozen and last is not None:
            self._frozen = epoch <= last
            self.encoder.requires_grad_(not self._frozen)

    def train(self, mode: bool = True) -> "Classifier":
        """Training mode; a frozen encoder stays as it is, its dropout and batch norm too."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees [N, F]."""
        return self.head(self.encoder(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, S, S] in [0, 1]."""
        return self.to_logits(self.features(images))

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats, and accuracy; in training of images and labels made harder."""
        return self.regularizers.loss_terms(self, images, labels)
