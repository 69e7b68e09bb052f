"""What all classifiers share, whatever their network: how they are trained, what they see."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from latentlab.data.augmentation import flipped, shifted


@dataclass(frozen=True)
class ClassifierTrainingOptions:
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


class ImageClassifier(nn.Module):
    """What all of them share; their own are `embed`, from images to features, and `to_logits`.

    Where `mirrored`, the features of an image are, except in training, the mean of its own and of
    those of its mirror image: a class that stays what it is when mirrored is told more surely.
    """

    to_logits: nn.Linear

    def __init__(self, training_options: ClassifierTrainingOptions | None, mirrored: bool) -> None:
        super().__init__()
        self.training_options = training_options or ClassifierTrainingOptions()
        self.mirrored = mirrored

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Features [N, F] of images [N, C, S, S] in [0, 1]."""

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees [N, F]."""
        if self.mirrored and not self.training:
            return (self.embed(images) + self.embed(images.flip(3))) / 2
        return self.embed(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes]."""
        return self.to_logits(self.features(images))

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy to smoothed labels in nats, and accuracy; in training of changed images.

        Held-out images are judged by the same loss: with hard labels, who was taught not to be sure
        looks worse the more it learns, and the best epoch would be an early one.
        """
        if self.training:
            images = self.training_options.augment(images)
        logits = self(images)
        accuracy = (logits.argmax(1) == labels).to(torch.float32).mean()
        loss = cross_entropy(logits, labels, label_smoothing=self.training_options.label_smoothing)
        return {"loss": loss, "accuracy": accuracy}
