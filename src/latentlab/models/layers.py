"""The convolutional encoder and the decoder that mirrors it, shared by the autoencoder families."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from latentlab.params.geometry import Architecture, Convolution

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
}
"""Activation functions by their names in `params.yaml`."""

BRIGHTNESS_MARGIN = 0.01
"""The initial brightness of a decoder is at least this far from black and from white."""


class Encoder(nn.Sequential):
    """Convolutions and linear layers that map images [N, C, S, S] in [0, 1] to features [N, F].

    F is the attribute `features`.
    """

    def __init__(self, architecture: Architecture) -> None:
        layers: list[nn.Module] = []
        if architecture.mean is not None and architecture.std is not None:
            layers.append(Standardize(architecture.mean, architecture.std))
        for layer in architecture.convolutions():
            layers += [
                nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding),
                *_norm_activation_dropout(architecture, nn.BatchNorm2d(layer.outputs)),
            ]
        layers.append(nn.Flatten())
        widths = (architecture.flat, *architecture.widths)
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.Linear(inputs, outputs),
                *_norm_activation_dropout(architecture, nn.BatchNorm1d(outputs)),
            ]
        super().__init__(*layers)
        self.features = widths[-1]


class Decoder(nn.Sequential):
    """The mirror image of the encoder: latent codes [N, latent_dim] to images [N, C, S, S].

    Images are in [0, 1] if `architecture.output` is "sigmoid", and unbounded if it is "linear".
    """

    def __init__(self, architecture: Architecture) -> None:
        convolutions = architecture.convolutions()
        widths = (architecture.latent_dim, *reversed(architecture.widths), architecture.flat)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.Linear(inputs, outputs),
                *_norm_activation_dropout(architecture, nn.BatchNorm1d(outputs)),
            ]
        last = convolutions[-1]
        layers.append(nn.Unflatten(1, (last.outputs, last.output_size, last.output_size)))
        for layer in reversed(convolutions):
            layers.append(_upsampling_layer(layer, architecture.upsampling))
            if layer is not convolutions[0]:
                layers += _norm_activation_dropout(architecture, nn.BatchNorm2d(layer.inputs))
        if architecture.output == "sigmoid":
            if architecture.brightness is not None:
                initialize_brightness(architecture.brightness, layers[-1])
            layers.append(Sigmoid())
        elif architecture.mean is not None and architecture.std is not None:
            layers.append(Unstandardize(architecture.mean, architecture.std))
        super().__init__(*layers)


class Sigmoid(nn.Sigmoid):
    """A sigmoid that computes in float32, because bfloat16 rounds values above 0.998 to 1."""

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits [N, C, S, S] to pixels in [0, 1]."""
        return super().forward(logits.float())


class Standardize(nn.Module):
    """Subtract the mean of each channel and divide by its standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Standardize images [N, C, S, S]."""
        return (images - self.mean) / self.std


class Unstandardize(Standardize):
    """The inverse of `Standardize`."""

    def forward(self, images: Tensor) -> Tensor:
        """Map standardized images [N, C, S, S] back to the scale of pixels, [0, 1]."""
        return images * self.std + self.mean


@torch.no_grad()
def initialize_brightness(brightness: Sequence[float], last: nn.Module) -> None:
    """Set a bias so that an untrained network outputs images of this mean brightness per channel.

    `last` precedes the sigmoid: a convolution, or a convolution with pixel shuffle. Without this,
    the first steps on dark images drive all pixels into the flat part of the sigmoid, where the
    gradient vanishes.
    """
    convolution = last[0] if isinstance(last, nn.Sequential) else last
    bias = convolution.get_parameter("bias")
    logits = torch.tensor(brightness).logit(BRIGHTNESS_MARGIN)
    bias.copy_(logits.repeat_interleave(len(bias) // len(logits)))


def _norm_activation_dropout(architecture: Architecture, norm: nn.Module) -> list[nn.Module]:
    """Return what follows every layer except the last: norm and dropout only if configured."""
    layers: list[nn.Module] = [norm] if architecture.batch_norm else []
    layers.append(ACTIVATIONS[architecture.activation]())
    if architecture.dropout:
        layers.append(nn.Dropout(architecture.dropout))
    return layers


def _upsampling_layer(layer: Convolution, upsampling: str) -> nn.Module:
    """Return the decoder's counterpart of `layer`, from `output_size` to exactly `size` pixels.

    Sub-pixel convolution (Shi et al. 2016) avoids checkerboard artifacts. It can only multiply
    sizes by an integer; a transposed convolution is used where that does not give `size`.
    """
    is_multiple = layer.stride > 1 and layer.output_size * layer.stride == layer.size
    if upsampling == "subpixel" and is_multiple:
        return nn.Sequential(
            nn.Conv2d(layer.outputs, layer.inputs * layer.stride**2, 3, padding=1),
            nn.PixelShuffle(layer.stride),
        )
    return nn.ConvTranspose2d(
        layer.outputs,
        layer.inputs,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.output_padding,
    )


def mean_squared_error(outputs: Tensor, images: Tensor) -> Tensor:
    """Compute the mean squared error over images and pixels, as a scalar."""
    return torch.nn.functional.mse_loss(outputs, images)
