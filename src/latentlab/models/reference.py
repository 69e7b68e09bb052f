"""The reference classifier: a small convolutional network trained for nothing but the classes.

Its features are the space in which generated images are compared with real ones, and its accuracy
is what fine-tuned encoders are compared with.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from latentlab.models.classification import ClassifierTrainingOptions, ImageClassifier


class ReferenceClassifier(ImageClassifier):
    """Convolutions with batch norm that halve the image each, a linear layer of features, logits.

    The first looks at 5x5 pixels in steps of two, the others at 3x3 before the largest of each four
    goes on.
    """

    family = "reference"

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int],
        features: int,
        classes: int,
        dropout: float = 0.0,
        training_options: ClassifierTrainingOptions | None = None,
        mirrored: bool = False,
    ) -> None:
        super().__init__(training_options, mirrored)
        self.config = {
            "image_shape": list(image_shape),
            "channels": list(channels),
            "features": features,
            "classes": classes,
            "dropout": dropout,
            "mirrored": mirrored,
        }
        widths = (image_shape[0], *channels)
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(zip(widths, channels, strict=False)):
            kernel, stride = (5, 2) if number == 0 else (3, 1)
            layers += [
                nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            if number > 0:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
        smallest = math.ceil(image_shape[1] / 2 ** len(channels))
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels[-1] * smallest**2, features),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.to_logits = nn.Linear(features, classes)

    @property
    def classes(self) -> int:
        """How many it knows."""
        return self.config["classes"]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ReferenceClassifier":
        """The same network, with fresh weights."""
        return cls(**config)

    def embed(self, images: Tensor) -> Tensor:
        """Features [N, F] of images [N, C, S, S] in [0, 1]."""
        return self.layers(images)
