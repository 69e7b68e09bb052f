"""The convolutional encoder and its mirror image, shared by the families that have them.

Every layer has kernel 3 and stride 2. The padding is 1 where the size n is even and 0 where it is
odd, so that a layer takes n to n // 2 and its mirror image takes it back exactly. For 28 pixels:
28, 14, 7, 3, which is the network of the usual course exercise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
}


def layer_sizes(image_size: int, layers: int) -> list[int]:
    """Height after each layer, the image itself first; ValueError where the image vanishes."""
    sizes = [image_size]
    for layer in range(1, layers + 1):
        if sizes[-1] < 2:
            raise ValueError(
                f"convolution {layer} of {layers} has nothing left to halve: "
                f"an image of {image_size} pixels shrinks to {sizes[-1]} before it"
            )
        sizes.append(sizes[-1] // 2)
    return sizes


class Encoder(nn.Sequential):
    """Images [N, C, S, S] to features [N, hidden]."""

    def __init__(
        self, image_shape: Sequence[int], channels: Sequence[int], hidden: int, activation: str
    ) -> None:
        depth, image_size, _ = image_shape
        sizes = layer_sizes(image_size, len(channels))
        layers: list[nn.Module] = []
        for size, inputs, outputs in zip(sizes, (depth, *channels), channels, strict=False):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1 - size % 2),
                ACTIVATIONS[activation](),
            ]
        flat = channels[-1] * sizes[-1] ** 2
        super().__init__(*layers, nn.Flatten(), nn.Linear(flat, hidden), ACTIVATIONS[activation]())


class Decoder(nn.Sequential):
    """Codes [N, latent_dim] to images [N, C, S, S]; without an output nonlinearity."""

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int],
        hidden: int,
        latent_dim: int,
        activation: str,
        upsampling: str,
    ) -> None:
        depth, image_size, _ = image_shape
        sizes = layer_sizes(image_size, len(channels))
        flat = channels[-1] * sizes[-1] ** 2
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, hidden),
            ACTIVATIONS[activation](),
            nn.Linear(hidden, flat),
            ACTIVATIONS[activation](),
            nn.Unflatten(1, (channels[-1], sizes[-1], sizes[-1])),
        ]
        widths = (depth, *channels)
        for layer in reversed(range(len(channels))):
            layers.append(_doubling(sizes[layer], widths[layer + 1], widths[layer], upsampling))
            if layer:
                layers.append(ACTIVATIONS[activation]())
        super().__init__(*layers)


def _doubling(size: int, inputs: int, outputs: int, upsampling: str) -> nn.Module:
    """A layer whose output has `size` pixels a side: the mirror of the one that halved it.

    Sub-pixel convolution (Shi et al. 2016) leaves no checkerboard; it can only double, so odd
    sizes are always transposed.
    """
    if upsampling == "subpixel" and size % 2 == 0:
        return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))
    return nn.ConvTranspose2d(
        inputs, outputs, 3, stride=2, padding=1 - size % 2, output_padding=1 - size % 2
    )


def mean_squared_error(outputs: Tensor, images: Tensor) -> Tensor:
    """Mean over images and pixels in [0, 1]; a scalar."""
    return torch.nn.functional.mse_loss(outputs, images)
