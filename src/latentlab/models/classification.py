"""How classifiers are trained, whatever their network."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from latentlab.data.augmentation import flipped, shifted


@dataclass(frozen=True)
class Regularizers:
    """What makes images and labels harder in training; nothing that a network has to know later.

    `unfreeze_after` is the last epoch of a frozen encoder, None for all of them; `shift` is in
    pixels.
    """

    unfreeze_after: int | None = None
    label_smoothing: float = 0.0
    flip: bool = False
    shift: int = 0

    def augment(self, images: Tensor) -> Tensor:
        """Images, some of them mirrored or moved."""
        if self.flip:
            images = flipped(images)
        if self.shift:
            images = shifted(images, self.shift)
        return images

    def loss_terms(self, network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats, and accuracy; in training of images and labels made harder."""
        smoothing = 0.0
        if network.training:
            images, smoothing = self.augment(images), self.label_smoothing
        logits = network(images)
        accuracy = (logits.argmax(1) == labels).to(torch.float32).mean()
        loss = cross_entropy(logits, labels, label_smoothing=smoothing)
        return {"loss": loss, "accuracy": accuracy}
