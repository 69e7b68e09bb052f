"""Magnitude pruning through `torch.nn.utils.prune`, and weights without its traces."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

NAME = "weight"


def prune_smallest(model: nn.Module, fraction: float) -> None:
    """Set the `fraction` of weights not yet pruned with the smallest magnitude to zero, for good.

    Global over all convolutions and linear layers; biases and norms are left alone.
    """
    targets = [(module, NAME) for module in prunable(model)]
    model.to(memory_format=torch.contiguous_format)  # prune strings weights together by `view`
    magnitudes = {(module, NAME): _own_weight(module).detach().abs() for module, _ in targets}
    prune.global_unstructured(targets, prune.L1Unstructured, magnitudes, amount=fraction)
    model.to(memory_format=torch.channels_last)


def copy_masks(source: nn.Module, target: nn.Module) -> None:
    """Prune in `target` what is pruned in `source`, a network of the same kind."""
    for pruned, module in zip(prunable(source), prunable(target), strict=True):
        prune.custom_from_mask(module, NAME, pruned.weight_mask)
    target.to(memory_format=torch.channels_last)  # a second mask comes out contiguous


def restore_masks(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Give a fresh network the masks that a state of a pruned one has places for."""
    for name, module in model.named_modules():
        if f"{name}.{NAME}_mask" in state and not prune.is_pruned(module):
            prune.identity(module, NAME)


def make_pruning_permanent(model: nn.Module) -> None:
    """Make pruning permanent: plain weights, zero where they were pruned."""
    for module in prunable(model):
        if hasattr(module, f"{NAME}_mask"):
            prune.remove(module, NAME)


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the state of a network as it would be without masks."""
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for name in [name for name in state if name.endswith(f".{NAME}_mask")]:
        plain = name.removesuffix("_mask")
        state[plain] = state.pop(f"{plain}_orig") * state.pop(name)
    return state


def sparsity(model: nn.Module) -> float:
    """Share of the prunable weights that are exactly zero."""
    with torch.no_grad():
        zeros = [(int((m.weight == 0).sum()), m.weight.numel()) for m in prunable(model)]
    return sum(zero for zero, _ in zeros) / max(sum(count for _, count in zeros), 1)


def prunable(model: nn.Module) -> Iterator[nn.Module]:
    """The layers whose weights are pruned: those that are trained."""
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    for module in model.modules():
        if isinstance(module, kinds) and _own_weight(module).requires_grad:
            yield module


def _own_weight(module: nn.Module) -> Tensor:
    """The parameter: without its mask where it has one."""
    return getattr(module, f"{NAME}_orig", module.weight)
