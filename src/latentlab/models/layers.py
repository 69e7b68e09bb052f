"""The convolutional encoder and its mirror image, shared by the families that have them."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from latentlab.params.geometry import Architecture, Convolution

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
}

DARKEST = 0.01
"""That a decoder starts at, however dark its images are; the brightest is as far from white."""


class Encoder(nn.Sequential):
    """Images [N, C, S, S] in [0, 1] to features [N, F]; F is `features`."""

    def __init__(self, architecture: Architecture) -> None:
        layers: list[nn.Module] = []
        if architecture.mean is not None:
            layers.append(Standardize(architecture.mean, architecture.std))
        for layer in architecture.convolutions():
            layers += [
                nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding),
                *_after(architecture, nn.BatchNorm2d(layer.outputs)),
            ]
        layers.append(nn.Flatten())
        widths = (architecture.flat, *architecture.widths)
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.Linear(inputs, outputs),
                *_after(architecture, nn.BatchNorm1d(outputs)),
            ]
        super().__init__(*layers)
        self.features = widths[-1]


class Decoder(nn.Sequential):
    """Codes [N, latent_dim] to images [N, C, S, S]; in [0, 1] where the output is a sigmoid."""

    def __init__(self, architecture: Architecture) -> None:
        convolutions = architecture.convolutions()
        widths = (architecture.latent_dim, *reversed(architecture.widths), architecture.flat)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.Linear(inputs, outputs),
                *_after(architecture, nn.BatchNorm1d(outputs)),
            ]
        last = convolutions[-1]
        layers.append(nn.Unflatten(1, (last.outputs, last.output_size, last.output_size)))
        for layer in reversed(convolutions):
            layers.append(_mirrored(layer, architecture.upsampling))
            if layer is not convolutions[0]:
                layers += _after(architecture, nn.BatchNorm2d(layer.inputs))
        if architecture.output == "sigmoid":
            if architecture.brightness is not None:
                initialize_brightness(architecture.brightness, layers[-1])
            layers.append(Sigmoid())
        elif architecture.mean is not None:
            layers.append(Unstandardize(architecture.mean, architecture.std))
        super().__init__(*layers)


class Sigmoid(nn.Sigmoid):
    """A sigmoid in float32: in bfloat16 whatever is above 0.998 would be 1."""

    def forward(self, logits: Tensor) -> Tensor:
        """Pixels [N, C, S, S] in [0, 1]."""
        return super().forward(logits.float())


class Standardize(nn.Module):
    """(images - mean) / std, per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Standardised images [N, C, S, S]."""
        return (images - self.mean) / self.std


class Unstandardize(Standardize):
    """images * std + mean, per channel: the way back."""

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, S, S] around [0, 1]."""
        return images * self.std + self.mean


@torch.no_grad()
def initialize_brightness(brightness: Sequence[float], last: nn.Module) -> None:
    """Have images be of such a mean, per channel, while a network knows nothing else.

    `last` is what a sigmoid follows: a convolution, or one whose channels are rearranged as pixels.
    Dark images otherwise make the first steps drive all pixels to where a sigmoid has no slope, and
    nothing is learnt.
    """
    convolution = last[0] if isinstance(last, nn.Sequential) else last
    logits = torch.tensor(brightness).logit(DARKEST)
    convolution.bias.copy_(logits.repeat_interleave(len(convolution.bias) // len(logits)))


def _after(architecture: Architecture, norm: nn.Module) -> list[nn.Module]:
    """What follows a layer that is not the last."""
    layers: list[nn.Module] = [norm] if architecture.batch_norm else []
    layers.append(ACTIVATIONS[architecture.activation]())
    if architecture.dropout:
        layers.append(nn.Dropout(architecture.dropout))
    return layers


def _mirrored(layer: Convolution, upsampling: str) -> nn.Module:
    """The decoder's counterpart of a layer: from `output_size` back to exactly `size` pixels.

    Sub-pixel convolution (Shi et al. 2016) leaves no checkerboard; it can only multiply sizes, so
    where the size is no multiple the convolution is transposed.
    """
    multiplies = layer.stride > 1 and layer.output_size * layer.stride == layer.size
    if upsampling == "subpixel" and multiplies:
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
    """Mean over images and pixels in [0, 1]; a scalar."""
    return torch.nn.functional.mse_loss(outputs, images)
