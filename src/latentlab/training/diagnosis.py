"""Diagnosis of finished trainings: what went wrong, and which parameter to change.

The criteria are functions of recorded values. docs/how-to/diagnose-a-training.md says what they
mean and where they are wrong.
"""

import math
from dataclasses import dataclass

import numpy as np

from latentlab.common.progress import short
from latentlab.training.loop import Record

DID_NOT_LEARN, DIVERGED = "did_not_learn", "diverged"
COLLAPSED, STILL_IMPROVING = "collapsed", "still_improving"

FLAT = 0.02
"""Relative change below which a training error has not changed since the first epoch. Noise,
dropout and augmentation change the mean error of an epoch by up to 1%."""
USELESS = 0.95
"""Share of the error of the best constant output above which a network has learned nothing about
single images. One principal component has a share of 0.84 on the digits."""
STALL_EPOCHS = 4
"""Epochs from which a training can have collapsed; many pass the mean image in their first ones."""
CHANCE_ERRORS = 3
"""Standard errors by which an accuracy must exceed that of the majority class."""
EXPLODED = 2.0
"""The error of the last epoch, relative to the lowest one, from which a training has diverged, if
it has also returned to half of the first one: a loss close to 0 doubles by chance."""
LAST_SHARE = 0.1
"""Share of the epochs, at their end, whose improvement decides whether a training was too short.
Earlier, the error falls with the learning rate, which more epochs would not repeat."""
IMPROVING = 0.015
"""Relative decrease of the validation error over those epochs that is not yet negligible."""
UNDERFITTED = 0.95
"""Training error, relative to the validation error, from which a training can be too short. A
network that fits the training images better than others gains little from more epochs."""
FRECHET_IMPROVING = 0.03
"""The same of a Fréchet distance, which varies more from epoch to epoch."""
NEGLIGIBLE_KL = 0.1
"""KL divergence in nats below which a posterior equals the prior. After its first epoch, a VAE may
have no active dimension but a KL of nats."""
SATURATED = 0.02
"""The discriminator makes no errors if D(x) > 1 - this and D(G(z)) < this."""

Points = list[tuple[float, float]]
"""An error by epoch, in the order of the epochs."""


@dataclass(frozen=True)
class Finding:
    """A problem of one training: its name, what happened, and which parameter to change."""

    problem: str
    text: str
    advice: str


@dataclass(frozen=True)
class Curve:
    """A positive error of a training by epoch, on the training and the validation split.

    `budget` is the number of epochs that the training may take. After `settled_epoch` the loss does
    not change any more, by a warm-up or by pruning.
    """

    term: str
    train: list[float]
    validation: list[float]
    budget: int
    settled_epoch: int = 0

    @classmethod
    def of(cls, history: list[Record], term: str, budget: int, settled_epoch: int = 0) -> "Curve":
        """Return the curve of a loss term, such as `mse`."""
        train, validation = ([r[f"{s}/{term}"] for r in history] for s in ("train", "validation"))
        return cls(term, train, validation, budget, settled_epoch)

    @property
    def flat(self) -> bool:
        """Whether the training error has hardly changed since the first epoch."""
        last = self.train[-1] if len(self.train) > 1 else self.validation[-1]
        return abs(last - self.train[0]) < FLAT * self.train[0]

    @property
    def stalled(self) -> bool:
        """Whether the training error changed at first, but not in the second half of the epochs."""
        middle, last = self.train[len(self.train) // 2 - 1], self.train[-1]
        return len(self.train) >= STALL_EPOCHS and not self.flat and last > (1 - FLAT) * middle

    @property
    def underfitted(self) -> bool:
        """Whether the training images are not fitted better than the validation images."""
        return self.train[-1] >= UNDERFITTED * self.validation[-1]

    @property
    def points(self) -> Points:
        """The validation error by epoch, from where the loss has settled.

        The mean training error of the first epoch stands for the validation error in its middle.
        """
        middle = [] if self.settled_epoch else [(0.5, self.train[0])]
        validation = list(enumerate(self.validation, 1))[self.settled_epoch :]
        return middle + [(float(epoch), error) for epoch, error in validation]


def reconstruction_is_useless(mse: float, mean_image_mse: float) -> bool:
    """Return whether outputs are hardly closer to the images than the mean image."""
    return mse > USELESS * mean_image_mse


def accuracy_is_useless(accuracy: float, majority_accuracy: float, images: int) -> bool:
    """Return whether an accuracy can be that of the majority class, by chance."""
    error = math.sqrt(majority_accuracy * (1 - majority_accuracy) / images)
    return accuracy <= majority_accuracy + CHANCE_ERRORS * error


def diagnose(curve: Curve, section: str, useless: bool, constant: bool = False) -> list[Finding]:
    """Return the finding about a network that minimizes one loss, if there is one.

    `useless` says whether the network is no better than a constant output, and `constant` whether
    its output is constant. `section` has the parameters of the training in `params.yaml`.
    """
    settled = curve.train[curve.settled_epoch :] or curve.train[-1:]
    lowest, last = min(settled), settled[-1]
    if last >= max(EXPLODED * lowest, settled[0] / EXPLODED):
        text = f"diverged: training {curve.term} rose from {short(lowest)} to {short(last)}"
        return [Finding(DIVERGED, text, f"lower {section}.learning_rate")]
    if curve.underfitted and (
        improving := still_improving(curve.points, curve.budget, curve.term, section)
    ):
        return improving
    if not useless:
        return []
    numbers = (
        f"training {curve.term} {short(curve.train[0])} in epoch 1, {short(curve.train[-1])} in "
        f"epoch {len(curve.train)}"
    )
    if constant and curve.stalled:
        text = f"the output is the same for all images ({numbers})"
        return [Finding(COLLAPSED, text, f"lower {section}.learning_rate")]
    advice = f"raise {section}.epochs or {section}.learning_rate"
    return [Finding(DID_NOT_LEARN, f"the network did not learn ({numbers})", advice)]


def still_improving(
    points: Points, budget: int, name: str, section: str, threshold: float = IMPROVING
) -> list[Finding]:
    """Return a finding if a validation error was falling when the last epoch ended.

    A training that stopped before its `budget` of epochs, by early stopping, has none.
    """
    if not points or points[-1][0] < budget or (decrease := last_decrease(points)) < threshold:
        return []
    lowest = short(min(error for _, error in points))
    text = (
        f"still improving in the last epoch, {budget} (validation {name} {lowest}, {decrease:.1%} "
        "lower than before the last tenth of the training)"
    )
    return [Finding(STILL_IMPROVING, text, f"raise {section}.epochs")]


def last_decrease(points: Points) -> float:
    """Return the relative decrease of the lowest error in the last tenth of a training.

    The lowest error at the beginning of that tenth is interpolated between epochs.
    """
    epochs = [epoch for epoch, _ in points]
    lowest = np.minimum.accumulate([error for _, error in points])
    before = float(np.interp((1 - LAST_SHARE) * epochs[-1], epochs, lowest))
    return 1 - float(lowest[-1]) / before if before > 0 else 0.0


def posterior_collapse(curve: Curve, kl: float, active_units: int, beta: float) -> list[Finding]:
    """Return a finding if a VAE has learned to ignore its latent code.

    `active_units` is the number of latent dimensions that depend on the image, and `kl` the KL
    divergence in nats.
    """
    if active_units or kl > NEGLIGIBLE_KL or curve.flat:
        return []
    text = f"posterior collapse: no latent dimension depends on the image (KL {short(kl)} nats)"
    advice = f"lower vae.beta, now {beta:g}, or raise vae.warmup_epochs or vae.free_bits"
    return [Finding(COLLAPSED, text, advice)]


def diagnose_gan(
    history: list[Record], best_epoch: int, metric: str, budget: int, below: bool, bounded: bool
) -> list[Finding]:
    """Return the findings about a GAN.

    `metric` is the distance to real images that selects `best_epoch`; it is missing in epochs
    without an evaluation. `below` says whether the kept generator is worse than its baseline, and
    `bounded` whether the output of the discriminator is a probability.
    """
    first, best, last = history[0], history[best_epoch - 1], history[-1]
    points = [(record["epoch"], record[metric]) for record in history if metric in record]
    findings = _gan_collapse(best, last, bounded)
    losses = [f"train/{network}_loss" for network in ("discriminator", "generator")]
    flat = all(abs(last[each] - first[each]) < FLAT * abs(first[each]) for each in losses)
    if below and flat and len(history) > 1:
        text = "neither loss changed during the training"
        return [Finding(DID_NOT_LEARN, text, "raise gan.learning_rate"), *findings]
    lowest = min((error for _, error in points), default=math.inf)
    if points and points[-1][1] >= EXPLODED * lowest:
        text = (
            f"the Fréchet distance rose from {short(lowest)} in epoch {best_epoch} to "
            f"{short(points[-1][1])}"
        )
        return [Finding(DIVERGED, text, "lower gan.learning_rate or gan.epochs"), *findings]
    return findings + still_improving(points, budget, "Fréchet distance", "gan", FRECHET_IMPROVING)


def _gan_collapse(best: Record, last: Record, bounded: bool) -> list[Finding]:
    findings = []
    if best.get("validation/collapsed"):
        diversity = short(best["validation/diversity"])
        text = f"mode collapse: diversity of the samples relative to real images {diversity}"
        if "validation/class_entropy" in best:  # there is none without labels
            text += (
                f", within classes {short(best['validation/diversity_in_classes'])}; entropy of "
                f"their classes {short(best['validation/class_entropy'])} nats"
            )
        findings.append(Finding(COLLAPSED, text, "lower gan.learning_rate or raise gan.epochs"))
    real, generated = last["train/d_real"], last["train/d_generated"]
    if bounded and real > 1 - SATURATED and generated < SATURATED:
        text = f"the discriminator makes no errors (D(x) {real:.3f}, D(G(z)) {generated:.3f})"
        advice = "lower gan.discriminator_channels or set gan.label_smoothing"
        findings.append(Finding(COLLAPSED, text, advice))
    return findings
