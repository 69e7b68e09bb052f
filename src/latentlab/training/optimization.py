"""Optimisers and learning-rate schedules by their names in `params.yaml`."""

from collections.abc import Iterable

from torch import nn, optim
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from latentlab.params import OptimizationParams

OPTIMIZERS = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "adamax": optim.Adamax,
    "adagrad": optim.Adagrad,
    "radam": optim.RAdam,
    "nadam": optim.NAdam,
    "sgd": lambda parameters, **options: optim.SGD(parameters, momentum=0.9, **options),
    "rmsprop": optim.RMSprop,
}

FUSED = ("adam", "adamw", "sgd")
"""Optimisers that torch runs as one kernel over all parameters, on every device."""


def make_optimizer(
    settings: OptimizationParams, parameters: Iterable[nn.Parameter]
) -> optim.Optimizer:
    """The optimiser over the parameters that are to be trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    options = {"fused": True} if settings.optimizer in FUSED else {}
    return OPTIMIZERS[settings.optimizer](
        trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, **options
    )


def make_schedule(
    settings: OptimizationParams, optimizer: optim.Optimizer, steps: int
) -> LRScheduler:
    """A schedule of `steps` steps, one per batch, whose peak is `learning_rate`."""
    if settings.schedule == "one_cycle":
        return OneCycleLR(
            optimizer, settings.learning_rate, total_steps=steps, cycle_momentum=False
        )
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return ConstantLR(optimizer, factor=1.0)
