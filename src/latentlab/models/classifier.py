"""A classifier on the encoder of a trained autoencoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from latentlab.architecture import Architecture
from latentlab.models.autoencoder import Autoencoder


class Classifier(nn.Module):
    """The encoder and its code, then a head of fully connected layers with ReLU between them."""

    family = "classifier"

    def __init__(
        self, architecture: Architecture, head: Sequence[int], classes: int, freeze_encoder: bool
    ) -> None:
        super().__init__()
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
        if freeze_encoder:
            self.encoder.requires_grad_(False)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Classifier":
        """The same network, with fresh weights."""
        return cls(**config | {"architecture": Architecture(**config["architecture"])})

    @classmethod
    def from_autoencoder(
        cls, donor: Autoencoder, head: Sequence[int], classes: int, freeze_encoder: bool
    ) -> "Classifier":
        """A classifier that starts from the encoder weights of `donor`."""
        classifier = cls(donor.architecture, head, classes, freeze_encoder)
        classifier.encoder.load_state_dict(nn.Sequential(donor.encoder, donor.to_code).state_dict())
        return classifier

    def train(self, mode: bool = True) -> "Classifier":
        """Training mode; a frozen encoder stays as it is, its dropout and batch norm too."""
        super().train(mode)
        if self.config["freeze_encoder"]:
            self.encoder.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees [N, F]."""
        return self.head(self.encoder(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, S, S] in [0, 1]."""
        return self.to_logits(self.features(images))

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats, and accuracy."""
        logits = self(images)
        accuracy = (logits.argmax(1) == labels).to(torch.float32).mean()
        return {
            "loss": torch.nn.functional.cross_entropy(logits, labels),
            "accuracy": accuracy,
        }
