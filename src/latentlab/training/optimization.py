"""Optimizers and learning-rate schedules by their names in `params.yaml`."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn, optim

from latentlab.common.startup import optimizer_step
from latentlab.params.networks import OptimizationParams

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "adamax": optim.Adamax,
    "adagrad": optim.Adagrad,
    "radam": optim.RAdam,
    "nadam": optim.NAdam,
    "sgd": optim.SGD,
    "rmsprop": optim.RMSprop,
    "muon": optim.Muon,
}

FUSED = ("adam", "adamw", "adagrad", "sgd")
"""Optimizers for which torch has one fused kernel over all parameters."""

NOT_FUSED_ON_CUDA = ("adagrad",)
"""Optimizers in `FUSED` whose fused kernel does not exist on CUDA."""

ONE_CYCLE_WARMUP = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1 / 25e4


class Optimization:
    """The optimizers of one model and the schedule of their common learning rate."""

    def __init__(
        self, settings: OptimizationParams, model: nn.Module, steps_per_epoch: int
    ) -> None:
        self._settings = settings
        self._steps_per_epoch = steps_per_epoch
        self._step = 0
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizers = make_optimizers(settings, self.parameters)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return self.rate_at(max(self._step - 1, 0))

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return learning_rate_at(self._settings, step, self._steps_per_epoch)

    @torch.no_grad()
    def step(self) -> None:
        """Apply L1 and clipping to the gradients, take one step and clear the gradients."""
        if self._settings.l1:
            add_l1_gradient(self.parameters, self._settings.l1)
        if self._settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self._settings.clip_norm)
        rate = self.rate_at(self._step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer_step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self._step += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, except the parameters."""
        return {"step": self._step, "optimizers": [each.state_dict() for each in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._step = state["step"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def make_optimizers(
    settings: OptimizationParams, parameters: list[nn.Parameter]
) -> list[optim.Optimizer]:
    """Create the optimizer of all parameters, or two for "muon".

    Muon supports matrices only; AdamW trains the other parameters.
    """
    if settings.optimizer != "muon":
        return [_make_optimizer(settings, settings.optimizer, parameters)]
    matrices = [p for p in parameters if p.ndim == 2]
    others = [p for p in parameters if p.ndim != 2]
    groups = (("muon", matrices), ("adamw", others))
    return [_make_optimizer(settings, name, group) for name, group in groups if group]


def _make_optimizer(
    settings: OptimizationParams, name: str, parameters: list[nn.Parameter]
) -> optim.Optimizer:
    options: dict[str, float | bool | str] = {"fused": True} if _fuses(name, parameters) else {}
    if name == "sgd":
        options |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    if name == "muon":
        # steps of the same size as AdamW's, so that one learning rate fits both
        options |= {"momentum": settings.momentum, "adjust_lr_fn": "match_rms_adamw"}
    return OPTIMIZERS[name](
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, **options
    )


def _fuses(name: str, parameters: list[nn.Parameter]) -> bool:
    on_cuda = any(parameter.is_cuda for parameter in parameters)
    return name in FUSED and not (on_cuda and name in NOT_FUSED_ON_CUDA)


@torch.no_grad()
def add_l1_gradient(parameters: list[nn.Parameter], l1: float) -> None:
    """Add the subgradient l1 * sign(w) of l1 * sum |w| to the gradients."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=l1)


def learning_rate_at(settings: OptimizationParams, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0; its peak is `learning_rate`.

    - one_cycle: half a cosine up from 1/25 of the peak, then half a cosine down to 1/250,000 of it
      (Smith and Topin 2018; equal to torch's OneCycleLR).
    - cosine: half a cosine down to 0 (Loshchilov and Hutter 2017, without restarts).
    - step: multiplied by `step_factor` every `step_epochs` epochs.
    - constant: always the peak.

    All except one_cycle increase linearly over the first `warmup_fraction` of the steps.
    """
    peak = settings.learning_rate
    steps = settings.epochs * steps_per_epoch
    if settings.schedule == "one_cycle":
        warmup = ONE_CYCLE_WARMUP if settings.warmup_fraction is None else settings.warmup_fraction
        top = max(warmup * steps - 1, 0)
        if step <= top:
            return _half_cosine(peak * ONE_CYCLE_START, peak, step / top if top else 1.0)
        return _half_cosine(peak, peak * ONE_CYCLE_END, (step - top) / (steps - 1 - top or 1.0))
    warmup_steps = (settings.warmup_fraction or 0.0) * steps
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if settings.schedule == "cosine":
        return _half_cosine(peak, 0.0, (step - warmup_steps) / (steps - warmup_steps))
    if settings.schedule == "step":
        decays = step // (settings.step_epochs * steps_per_epoch)
        return float(peak * settings.step_factor**decays)
    return peak


def _half_cosine(start: float, end: float, share: float) -> float:
    """Interpolate from `start` (share 0) to `end` (share 1) along half a period of a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
