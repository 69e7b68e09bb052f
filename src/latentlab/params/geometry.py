"""What shapes a symmetric convolutional encoder and decoder, computed before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentlab.data.image_set import DatasetInfo
    from latentlab.params.networks import ConvolutionParams

SMALLEST_STD = 1e-3
"""Channels that hardly vary are not blown up when images are standardised."""


@dataclass(frozen=True)
class Convolution:
    """One layer of the encoder: from `size` to `output_size` pixels a side."""

    inputs: int
    outputs: int
    size: int
    output_size: int
    kernel: int
    stride: int
    padding: int

    @property
    def output_padding(self) -> int:
        """What a transposed convolution adds to come back to exactly `size`."""
        return (self.size + 2 * self.padding - self.kernel) % self.stride


@dataclass(frozen=True)
class Architecture:
    """An encoder: convolutions, then linear layers of widths `hidden`, then the code.

    The decoder is its mirror image. `kernel`, `stride` and `padding` are one number for all
    convolutions or one for each; padding "auto" makes a layer divide the size by its stride. With
    `mean` and `std` (per channel, in [0, 1]) the images are standardised on the way in. A sigmoid
    at the end starts at `brightness`, the mean of each channel.
    """

    image_shape: Sequence[int]
    channels: Sequence[int]
    hidden: int | Sequence[int]
    latent_dim: int
    kernel: int | Sequence[int] = 3
    stride: int | Sequence[int] = 2
    padding: int | str | Sequence[int] = "auto"
    activation: str = "silu"
    dropout: float = 0.0
    batch_norm: bool = False
    upsampling: str = "subpixel"
    output: str = "sigmoid"
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    brightness: Sequence[float] | None = None

    @classmethod
    def of(cls, model: ConvolutionParams, info: DatasetInfo) -> Architecture:
        """The architecture that `params.yaml` asks for, on the images of a dataset."""
        tree = model.tree()
        standardised = tree.pop("normalize")
        tree.pop("type", None)  # a denoiser names its type of network
        return cls(
            image_shape=info.image_shape,
            **tree,
            mean=info.mean if standardised else None,
            std=[max(std, SMALLEST_STD) for std in info.std] if standardised else None,
            brightness=info.mean,
        )

    @property
    def config(self) -> dict[str, Any]:
        """Plain values that build it again."""
        return asdict(self)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the linear layers between convolutions and code."""
        return (self.hidden,) if isinstance(self.hidden, int) else tuple(self.hidden)

    @property
    def flat(self) -> int:
        """Features after the last convolution."""
        last = self.convolutions()[-1]
        return last.outputs * last.output_size**2

    def convolutions(self) -> list[Convolution]:
        """The layers from the image on; ValueError names the one at which the image vanishes."""
        depth, size, _ = self.image_shape
        steps = zip(
            pairwise((depth, *self.channels)),
            self._per_layer("kernel"),
            self._per_layer("stride"),
            self._per_layer("padding"),
            strict=True,
        )
        layers: list[Convolution] = []
        for (inputs, outputs), kernel, stride, padding in steps:
            if padding == "auto":
                padding = _dividing_padding(size, kernel, stride)
            output_size = _output_size(size, kernel, stride, padding)
            if output_size < 1:
                raise ValueError(
                    f"the image vanishes at convolution {len(layers) + 1} of "
                    f"{len(self.channels)}: {size} pixels are too few for kernel {kernel}, "
                    f"stride {stride}, padding {padding}"
                )
            layers.append(Convolution(inputs, outputs, size, output_size, kernel, stride, padding))
            size = output_size
        return layers

    def _per_layer(self, name: str) -> Sequence[Any]:
        value = getattr(self, name)
        if isinstance(value, int | str):
            return [value] * len(self.channels)
        if len(value) != len(self.channels):
            raise ValueError(
                f"{name} has {len(value)} values for {len(self.channels)} convolutions; "
                "write one for each, or a single number for all"
            )
        return value


def _output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def _dividing_padding(size: int, kernel: int, stride: int) -> int:
    """The padding with which a layer leaves `size // stride` pixels, or just fewer.

    Kernel 3 and stride 2 take 28 pixels to 14, 7 and 3, as in the usual course exercise.
    """
    sizes = [_output_size(size, kernel, stride, padding) for padding in range(kernel)]
    fitting = [output for output in sizes if output <= size // stride]
    return sizes.index(max(fitting)) if fitting else 0
