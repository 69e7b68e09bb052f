"""Layer sizes of a symmetric convolutional encoder and decoder, computed without building it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from latentlab.common.progress import plural

if TYPE_CHECKING:
    from latentlab.data.image_set import DatasetInfo
    from latentlab.params.networks import ConvolutionParams

MIN_STD = 1e-3
"""Lower bound of the standard deviation by which a channel is divided."""


@dataclass(frozen=True)
class Convolution:
    """One convolution of the encoder, from images of width `size` to width `output_size`."""

    inputs: int
    outputs: int
    size: int
    output_size: int
    kernel: int
    stride: int
    padding: int

    @property
    def output_padding(self) -> int:
        """`output_padding` with which the transposed convolution restores exactly `size`."""
        return (self.size + 2 * self.padding - self.kernel) % self.stride


@dataclass(frozen=True)
class Architecture:
    """An encoder: convolutions, linear layers of widths `hidden`, and a latent code.

    The decoder is its mirror image. `kernel`, `stride` and `padding` are one number for all
    convolutions, or one for each. With padding "auto" a convolution divides the image size by its
    stride. If `mean` and `std` (per channel, of pixels in [0, 1]) are given, the encoder
    standardizes the images. The bias of a sigmoid output is initialized so that the decoder starts
    at `brightness`, the mean of each channel.
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
        """Return the architecture of a section of `params.yaml` for the images of a dataset."""
        tree = model.tree()
        standardize = tree.pop("normalize")
        tree.pop("type", None)  # the type of a denoiser's network
        return cls(
            image_shape=info.image_shape,
            **tree,
            mean=info.mean if standardize else None,
            std=[max(std, MIN_STD) for std in info.std] if standardize else None,
            brightness=info.mean,
        )

    @property
    def config(self) -> dict[str, Any]:
        """Plain values; `Architecture(**config)` is equal to this one."""
        return asdict(self)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the linear layers between the convolutions and the latent code."""
        return (self.hidden,) if isinstance(self.hidden, int) else tuple(self.hidden)

    @property
    def flat(self) -> int:
        """Number of features after the last convolution."""
        last = self.convolutions()[-1]
        return last.outputs * last.output_size**2

    def convolutions(self) -> list[Convolution]:
        """Return the convolutions of the encoder, the first one next to the image.

        Raises ValueError if a convolution has no output pixel, or if `kernel`, `stride` or
        `padding` is a list of another length than `channels`.
        """
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
                    f"{len(self.channels)}: {plural(size, 'pixel')} left, too few for kernel "
                    f"{kernel}, stride {stride}, padding {padding}"
                )
            layers.append(Convolution(inputs, outputs, size, output_size, kernel, stride, padding))
            size = output_size
        return layers

    def _per_layer(self, name: str) -> Sequence[Any]:
        value: int | str | Sequence[Any] = getattr(self, name)
        if isinstance(value, int | str):
            return [value] * len(self.channels)
        if len(value) != len(self.channels):
            raise ValueError(
                f"{name} has {len(value)} values for {len(self.channels)} convolutions; "
                "write one value for each, or a single number for all"
            )
        return value


def _output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def _dividing_padding(size: int, kernel: int, stride: int) -> int:
    """Return the padding for which the output has `size // stride` pixels, or slightly fewer.

    With kernel 3 and stride 2, images of 28 pixels become 14, 7 and 3 pixels wide.
    """
    sizes = [_output_size(size, kernel, stride, padding) for padding in range(kernel)]
    fitting = [output for output in sizes if output <= size // stride]
    return sizes.index(max(fitting)) if fitting else 0
