"""How large a network is."""

from torch import nn


def count_parameters(model: nn.Module, trained_only: bool = False) -> int:
    """Number of weights of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained_only)
