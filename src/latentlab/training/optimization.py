"""Optimisers and learning-rate schedules by their names in `params.yaml`."""

import math

import torch
from torch import nn, optim

from latentlab.common.startup import optimizer_step
from latentlab.params.networks import OptimizationParams

OPTIMIZERS = {
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
"""Optimisers that torch runs as one kernel over all parameters."""

FUSED_BUT_ON_CUDA = ("adagrad",)
"""Those of them that have no such kernel there."""

ONE_CYCLE_WARMUP = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1 / 25e4


class Optimization:
    """The optimisers of one model and the schedule of their common learning rate."""

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
        """That of the last step."""
        return self.rate_at(max(self._step - 1, 0))

    def rate_at(self, step: int) -> float:
        """That of a step, counted from 0."""
        return learning_rate_at(self._settings, step, self._steps_per_epoch)

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters along their gradients, regularised, and clear these."""
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

    def state_dict(self) -> dict:
        """All that the next step depends on, but for the parameters."""
        return {"step": self._step, "optimizers": [each.state_dict() for each in self.optimizers]}

    def load_state_dict(self, state: dict) -> None:
        """Go on where another stood."""
        self._step = state["step"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def make_optimizers(
    settings: OptimizationParams, parameters: list[nn.Parameter]
) -> list[optim.Optimizer]:
    """The optimiser over all parameters; muon takes matrices, and leaves the others to AdamW."""
    if settings.optimizer != "muon":
        return [_make(settings, settings.optimizer, parameters)]
    matrices = [p for p in parameters if p.ndim == 2]
    others = [p for p in parameters if p.ndim != 2]
    groups = (("muon", matrices), ("adamw", others))
    return [_make(settings, name, group) for name, group in groups if group]


def _make(
    settings: OptimizationParams, name: str, parameters: list[nn.Parameter]
) -> optim.Optimizer:
    options: dict[str, float | bool | str] = {"fused": True} if _fuses(name, parameters) else {}
    if name == "sgd":
        options |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    if name == "muon":
        # steps as large as AdamW's, so that one learning rate suits both
        options |= {"momentum": settings.momentum, "adjust_lr_fn": "match_rms_adamw"}
    return OPTIMIZERS[name](
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, **options
    )


def _fuses(name: str, parameters: list[nn.Parameter]) -> bool:
    on_cuda = any(parameter.is_cuda for parameter in parameters)
    return name in FUSED and not (on_cuda and name in FUSED_BUT_ON_CUDA)


@torch.no_grad()
def add_l1_gradient(parameters: list[nn.Parameter], l1: float) -> None:
    """Add the subgradient of l1 * sum |w|, which is l1 * sign(w)."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=l1)


def learning_rate_at(settings: OptimizationParams, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0; its peak is `learning_rate`.

    one_cycle: half a cosine up from 1/25 of the peak, half a cosine down to 1/250,000 (Smith and
    Topin 2018, as in torch's OneCycleLR). cosine: half a cosine down to 0. step: times
    `step_factor` every `step_epochs` epochs. The last three rise linearly during the warm-up.
    """
    peak = settings.learning_rate
    steps = settings.epochs * steps_per_epoch
    if settings.schedule == "one_cycle":
        warmup = ONE_CYCLE_WARMUP if settings.warmup_fraction is None else settings.warmup_fraction
        top = max(warmup * steps - 1, 0)
        if step <= top:
            return _half_cosine(peak * ONE_CYCLE_START, peak, step / top if top else 1.0)
        return _half_cosine(peak, peak * ONE_CYCLE_END, (step - top) / (steps - 1 - top or 1.0))
    warm_steps = (settings.warmup_fraction or 0.0) * steps
    if step < warm_steps:
        return peak * (step + 1) / (warm_steps + 1)
    if settings.schedule == "cosine":
        return _half_cosine(peak, 0.0, (step - warm_steps) / (steps - warm_steps))
    if settings.schedule == "step":
        return peak * settings.step_factor ** (step // (settings.step_epochs * steps_per_epoch))
    return peak


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
