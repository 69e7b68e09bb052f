"""Losses that are no longer finite, told with what one needs to mend it."""

from collections.abc import Callable

from torch import Tensor

from latentlab.errors import TrainingDiverged

STEPS_BETWEEN_CHECKS = 50
"""How often losses are looked at while an epoch runs: a look makes a GPU wait."""


def stop_if_diverged(
    losses: Tensor,
    epoch: int,
    steps: int,
    rate_at: Callable[[int], float],
    before: float | None,
    parameter: str = "learning_rate",
) -> None:
    """Raise TrainingDiverged where a loss of the first steps of an epoch, [n], is not finite.

    `steps` are those of an epoch, `rate_at` gives the learning rate of a step of the whole training
    counted from 0, `before` is the mean loss of the epoch before, and `parameter` what to lower.
    """
    finite = losses.isfinite()
    if bool(finite.all()):
        return
    step = int(finite.logical_not().nonzero()[0, 0])
    last = float(losses[step - 1]) if step else before
    raise TrainingDiverged(
        f"the loss is not finite in epoch {epoch}, step {step + 1} of {steps} "
        f"(learning rate {rate_at((epoch - 1) * steps + step):.3g}, last finite loss "
        f"{'none' if last is None else f'{last:.4g}'}); lower {parameter}"
    )
