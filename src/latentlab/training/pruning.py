"""Magnitude pruning with `torch.nn.utils.prune`, and states without its masks.

The functions of that module have no type annotations, hence the ignored errors below.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

NAME = "weight"


def prune_smallest(model: nn.Module, fraction: float) -> None:
    """Permanently set the `fraction` of unpruned weights with the smallest magnitude to zero.

    The threshold is global over all convolutions and linear layers (Han et al. 2015). Biases and
    normalization layers are not pruned.
    """
    targets = [(module, NAME) for module in prunable(model)]
    # prune concatenates weights by `view`, which requires contiguous memory
    model.to(memory_format=torch.contiguous_format)
    magnitudes = {(module, NAME): _parameter(module).detach().abs() for module, _ in targets}
    prune.global_unstructured(targets, prune.L1Unstructured, magnitudes, amount=fraction)
    _to_channels_last(model)


def copy_masks(source: nn.Module, target: nn.Module) -> None:
    """Prune the same weights in `target` as in `source`, a network of the same architecture."""
    for pruned, module in zip(prunable(source), prunable(target), strict=True):
        mask = pruned.get_buffer(f"{NAME}_mask")
        prune.custom_from_mask(module, NAME, mask)  # type: ignore[no-untyped-call]
    _to_channels_last(target)  # pruning a second time makes masks contiguous


def restore_masks(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Add masks to an unpruned network so that it can load the `state` of a pruned one."""
    for name, module in model.named_modules():
        if f"{name}.{NAME}_mask" in state and not prune.is_pruned(module):
            prune.identity(module, NAME)  # type: ignore[no-untyped-call]


def make_pruning_permanent(model: nn.Module) -> None:
    """Replace masked parameters by plain ones that are zero where they were pruned."""
    for module in prunable(model):
        if hasattr(module, f"{NAME}_mask"):
            prune.remove(module, NAME)  # type: ignore[no-untyped-call]


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state of a network as it would be after `make_pruning_permanent`."""
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for name in [name for name in state if name.endswith(f".{NAME}_mask")]:
        plain = name.removesuffix("_mask")
        state[plain] = state.pop(f"{plain}_orig") * state.pop(name)
    return state


def sparsity(model: nn.Module) -> float:
    """Return the share of prunable weights that are exactly zero."""
    with torch.no_grad():
        weights: list[Tensor] = [getattr(module, NAME) for module in prunable(model)]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros / max(sum(weight.numel() for weight in weights), 1)


def prunable(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the convolutions and linear layers whose weights are trained."""
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    for module in model.modules():
        if isinstance(module, kinds) and _parameter(module).requires_grad:
            yield module


def _parameter(module: nn.Module) -> nn.Parameter:
    """Return the weights without the mask, which prune stores under another name."""
    return module.get_parameter(f"{NAME}_orig" if hasattr(module, f"{NAME}_orig") else NAME)


def _to_channels_last(model: nn.Module) -> None:
    model.to(memory_format=torch.channels_last)
