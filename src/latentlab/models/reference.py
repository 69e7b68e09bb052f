"""The reference classifier: a small convolutional network trained on labels only.

Without class labels, the labels are the angles by which images were rotated.

The Fréchet and kernel distances between generated and real images are computed from its features,
and the fine-tuned classifiers are compared with its accuracy.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from latentlab.models.classification import ClassifierTrainingOptions, ImageClassifier


class ReferenceClassifier(ImageClassifier):
    """Convolutional blocks that each halve the image size, a feature layer, and a logit layer.

    The first block is a 5x5 convolution with stride 2; every further block is a 3x3 convolution and
    2x2 max pooling. All convolutions are followed by batch norm and ReLU.
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
        self.classes = classes
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
        final_size = math.ceil(image_shape[1] / 2 ** len(channels))
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels[-1] * final_size**2, features),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.to_logits = nn.Linear(features, classes)

    def embed(self, images: Tensor) -> Tensor:
        """Map images [N, C, S, S] in [0, 1] to features [N, F]."""
        features: Tensor = self.layers(images)
        return features
