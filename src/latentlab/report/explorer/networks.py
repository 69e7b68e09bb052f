"""Networks as lists of layers with float16 weights, which `assets/network.js` runs in a browser.

A layer is a dictionary with its `type` and sizes. `weights` contains the weights of all layers in
order as base64 of little-endian float16, `biases` the biases as float32. Batch norm is folded into
the layer before it in float64, because its scales can exceed the range of float16.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentlab.models.layers import Standardize, Unstandardize
from latentlab.models.unet import UNet

Layer = dict[str, Any]

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.SiLU: "silu",
    nn.GELU: "gelu",
    nn.Tanh: "tanh",
}
"""Layers without arguments."""
WITHOUT_EFFECT = (nn.Dropout, nn.Identity)
"""Layers that do nothing in evaluation mode."""
MAX_WEIGHT = 32768.0
"""Larger weights are divided by a power of two, which the layer contains as `scale`."""


def export_network(*modules: nn.Module) -> dict[str, Any]:
    """Return the modules, applied one after the other, in the format that the browser runs.

    Raises TypeError for a layer that the browser does not know.
    """
    layers = list(_layers(modules))
    weights, biases = [], []
    for layer in layers:
        if "weight" not in layer:
            continue
        weight, bias = layer.pop("weight"), layer.pop("bias")
        largest = float(weight.abs().max())
        layer["scale"] = 2.0 ** max(0, math.ceil(math.log2(max(largest, 1e-30) / MAX_WEIGHT)))
        weights.append((weight / layer["scale"]).numpy().astype("<f2").tobytes())
        biases.append(bias.numpy().astype("<f4").tobytes())
    return {"layers": layers, "weights": _base64(weights), "biases": _base64(biases)}


def encode_floats(values: np.ndarray | Tensor) -> str:
    """Return an array as base64 of little-endian float32."""
    return _base64([np.ascontiguousarray(values).astype("<f4").tobytes()])


def _base64(parts: list[bytes]) -> str:
    return base64.b64encode(b"".join(parts)).decode()


def _layers(modules: tuple[nn.Module, ...]) -> Iterator[Layer]:
    """Yield the layers of the modules, with batch norm folded into the layer before it."""
    layers: list[Layer] = []
    for module in _leaves(modules):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            _fold(module, next(layer for layer in reversed(layers) if "weight" in layer))
        elif isinstance(module, dict):
            layers.append(module)
        elif not isinstance(module, WITHOUT_EFFECT):
            layers.append(_layer(module))
    yield from layers


def _leaves(modules: tuple[nn.Module, ...]) -> Iterator[nn.Module | Layer]:
    """Yield modules that contain no others, and the layers that connect the paths of a U-Net."""
    for module in modules:
        if isinstance(module, UNet):
            yield from _unet_leaves(module)
        elif isinstance(module, nn.Sequential):
            yield from _leaves(tuple(module))
        else:
            yield module


def _unet_leaves(unet: UNet) -> Iterator[nn.Module | Layer]:
    yield from _leaves((unet.entry,))
    for down in unet.down:
        yield {"type": "save"}
        yield from _leaves((down,))
    for up, merge in zip(reversed(unet.up), reversed(unet.merge), strict=True):
        yield from _leaves((up,))
        yield {"type": "concatenate"}
        yield from _leaves((merge,))
    yield from _leaves((unet.exit,))
    yield {"type": "sigmoid"}


def _layer(module: nn.Module) -> Layer:
    """Return one layer, with the tensors `weight` and `bias` in float64 where it has them."""
    if isinstance(module, nn.Linear):
        sizes = {"inputs": module.in_features, "outputs": module.out_features}
        return {"type": "linear", **sizes, **_parameters(module, module.out_features)}
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        layer: Layer = {
            "type": "conv" if isinstance(module, nn.Conv2d) else "conv_transpose",
            "inputs": module.in_channels,
            "outputs": module.out_channels,
            "kernel": module.kernel_size[0],
            "stride": module.stride[0],
            "padding": int(module.padding[0]),
            "output_padding": module.output_padding[0],
        }
        return layer | _parameters(module, module.out_channels)
    if isinstance(module, nn.PixelShuffle):
        return {"type": "pixel_shuffle", "factor": module.upscale_factor}
    if isinstance(module, nn.PixelUnshuffle):
        return {"type": "pixel_unshuffle", "factor": module.downscale_factor}
    if isinstance(module, nn.Flatten):
        return {"type": "flatten"}
    if isinstance(module, nn.Unflatten):
        return {"type": "unflatten", "shape": list(module.unflattened_size)}
    if isinstance(module, nn.LeakyReLU):
        return {"type": "leaky_relu", "slope": module.negative_slope}
    if isinstance(module, nn.ELU):
        return {"type": "elu", "alpha": module.alpha}
    if isinstance(module, nn.Sigmoid):
        return {"type": "sigmoid"}
    if isinstance(module, Standardize):
        return _standardization(module)
    if type(module) in ACTIVATIONS:
        return {"type": ACTIVATIONS[type(module)]}
    raise TypeError(f"the explorer cannot run a layer of type {type(module).__name__}")


def _standardization(module: Standardize) -> Layer:
    """Return the scale and the shift of each channel."""
    mean, std = module.mean.flatten().double(), module.std.flatten().double()
    inverse = isinstance(module, Unstandardize)
    scale, shift = (std, mean) if inverse else (1 / std, -mean / std)
    return {"type": "affine", "scales": scale.tolist(), "shifts": shift.tolist()}


def _parameters(module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, outputs: int) -> Layer:
    bias = torch.zeros(outputs) if module.bias is None else module.bias.detach()
    return {"weight": module.weight.detach().double(), "bias": bias.double()}


def _fold(norm: nn.BatchNorm1d | nn.BatchNorm2d, layer: Layer) -> None:
    """Multiply a layer by the batch norm that follows it, in evaluation mode.

    After `Unflatten` or `PixelShuffle`, several outputs of the layer belong to one channel; they
    are adjacent.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.detach().double() - norm.running_mean.double() * scale
    repeats = len(layer["bias"]) // len(scale)
    scale, shift = scale.repeat_interleave(repeats), shift.repeat_interleave(repeats)
    weight = layer["weight"]
    transposed = layer["type"] == "conv_transpose"
    rows = weight.transpose(0, 1) if transposed else weight  # one row for each output
    scaled = rows * scale.reshape(-1, *[1] * (weight.ndim - 1))
    layer["weight"] = scaled.transpose(0, 1) if transposed else scaled
    layer["bias"] = layer["bias"] * scale + shift
