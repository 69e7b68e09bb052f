"""The common part of all classifiers: training options, loss and test-time augmentation."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from latentlab.models.io import TrainableModel


@dataclass(frozen=True)
class ClassifierTrainingOptions:
    """Options that affect training only, so that they are not saved with the network.

    `unfreeze_after` is the last epoch in which the encoder is frozen; None freezes it in all
    epochs. `label_smoothing` is the share of probability that is spread over all classes.
    """

    unfreeze_after: int | None = None
    label_smoothing: float = 0.0


class ImageClassifier(TrainableModel):
    """Base class of the classifiers; subclasses define `embed` and the layer `to_logits`.

    If `mirrored`, the features of an image in evaluation mode are the mean of its own and those of
    its mirror image (test-time augmentation).
    """

    to_logits: nn.Linear

    def __init__(self, training_options: ClassifierTrainingOptions | None, mirrored: bool) -> None:
        super().__init__()
        self.training_options = training_options or ClassifierTrainingOptions()
        self.mirrored = mirrored

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] in [0, 1] to features [N, F]."""

    def latent_codes(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] in [0, 1] to the features [N, F] before the last layer."""
        return self.embed(images)

    def features(self, images: Tensor) -> Tensor:
        """Return the input [N, F] of the last layer, averaged over mirror images if `mirrored`."""
        if self.mirrored and not self.training:
            return (self.embed(images) + self.embed(images.flip(3))) / 2
        return self.embed(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] for images [N, C, S, S] in [0, 1]."""
        logits: Tensor = self.to_logits(self.features(images))
        return logits

    def loss_terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the cross-entropy with label smoothing, in nats, and the accuracy.

        Validation uses smoothed labels as well: with hard labels, a network that was trained to be
        less confident would look worse the longer it trains, and an early epoch would be selected
        as the best.
        """
        logits = self(images)
        accuracy = (logits.argmax(1) == labels).to(torch.float32).mean()
        loss = cross_entropy(logits, labels, label_smoothing=self.training_options.label_smoothing)
        return {"loss": loss, "accuracy": accuracy}
