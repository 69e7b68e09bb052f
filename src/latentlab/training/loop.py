"""The training loop of every family with one loss.

A model has `loss_terms(images, labels)`: named scalars with `loss` among them. The loop
differentiates `loss` and records every term. Where it has `start_epoch(epoch)`, that is told before
each epoch, from 1 on, also in the middle of one that is taken up again.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from latentlab.data.image_set import ImageSet
from latentlab.errors import TrainingDiverged
from latentlab.networks.inference import mean_terms
from latentlab.networks.means import Means
from latentlab.params.networks import OptimizationParams
from latentlab.runtime import mixed_precision
from latentlab.training.checkpoint import Checkpoint, State
from latentlab.training.clock import Clock
from latentlab.training.divergence import STEPS_BETWEEN_CHECKS, stop_if_diverged
from latentlab.training.group import Group
from latentlab.training.optimization import Optimization
from latentlab.training.pruning import (
    copy_masks,
    plain_weights,
    prune_smallest,
    take_masks_off,
    wear_masks,
)
from latentlab.training.random_state import random_state, set_random_state
from latentlab.training.record import Record
from latentlab.training.sweep import Sweep


class Training:
    """One training of one model; `epochs()` does the work, one record at a time.

    After `resume` it goes on where a killed one stood, and ends with the same bits.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: OptimizationParams,
        train: ImageSet,
        validation: ImageSet,
        seed: int,
        device: torch.device,
        checkpoint: Checkpoint | None = None,
        group: Group | None = None,
    ) -> None:
        self.group = group or Group()
        self.model = model.to(device, memory_format=torch.channels_last)
        self.settings = settings
        self.validation = validation.to(device)
        self.device = device
        order = torch.Generator().manual_seed(seed)
        self.sweep = Sweep(train.to(device), settings.batch_size, order)
        self.optimization = Optimization(settings, self.model, self.sweep.steps)
        self.averaged = averaged(self.model, settings.ema_decay)
        self._normalises_batches = any(
            isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules()
        )
        self._loss_terms = self.group.loss_terms(self.model)
        self.means = Means()
        self.losses = torch.zeros(self.sweep.steps, device=device)
        self.checkpoint = checkpoint or Checkpoint()
        self.history: list[Record] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self._best_weights = plain_weights(self.judged)
        self._patience_epoch = 0
        self._patience_loss = math.inf
        self._clock = Clock()

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the average of the weights where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    @property
    def seconds(self) -> float:
        """Of work on it up to the end of the last epoch, those before a `resume` among them."""
        return self._clock.seconds

    def resume(self) -> None:
        """Go on where the checkpoint stands, if there is one."""
        state = self.checkpoint.read()
        # as many processes as before: others would not end with the same bits
        if state is not None and len(state["random"]) == self.group.size:
            self._restore(state)

    @property
    def over(self) -> bool:
        """Whether the budget or the patience is spent."""
        return len(self.history) >= self.settings.epochs or self._out_of_patience()

    def epochs(self, until: int | None = None) -> Iterator[Record]:
        """Train; yield the record of each epoch until it is over, or to the epoch `until`.

        Epochs from before a `resume` are in `history` and not yielded again. Raises
        TrainingDiverged where a loss is NaN or infinite.
        """
        while not self.over and (until is None or len(self.history) < until):
            epoch = len(self.history) + 1
            self._clock.start()
            train_terms = self.train_epoch(epoch)
            self._prune_after(epoch)
            validation_terms = self.group.agree(self._validate() if self.group.first else None)
            record = {
                "epoch": epoch,
                "learning_rate": self.optimization.learning_rate,
                **{f"train/{name}": value for name, value in train_terms.items()},
                **{f"validation/{name}": value for name, value in validation_terms.items()},
            }
            self._stop_if_validation_diverged(record)
            self._keep_if_best(epoch, validation_terms["loss"])
            self.history.append(record)
            if self.group.agree(self.checkpoint.due) or self.over or epoch == until:
                self._write_checkpoint()
            else:
                self._clock.count()
            yield record

    def restore_best(self) -> nn.Module:
        """Put the weights of the epoch with the lowest validation loss into the model."""
        take_masks_off(self.model)
        self.model.load_state_dict(self._best_weights)
        return self.model.eval()

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the images; the means of all terms. `epoch` counts from 1."""
        if hasattr(self.model, "start_epoch"):
            self.model.start_epoch(epoch)
        self.model.train()
        for images, labels in self.sweep.batches():
            total = len(images)
            if total < 2 * self.group.size and self._normalises_batches:
                continue  # a rest of one image for each process has no variance
            images, labels, count = self.group.share(images, labels)
            with mixed_precision(self.device, self.settings.precision):
                terms = self._loss_terms(images, labels)
            # of processes that share a batch, the mean of the gradients is taken
            (terms["loss"] * (count * self.group.size / total)).backward()
            self.optimization.step()
            if self.averaged is not None:
                self.averaged.update_parameters(self.model)
            self.means.add(terms, count)
            self.losses[self.sweep.step - 1] = terms["loss"].detach()
            if self.sweep.step % STEPS_BETWEEN_CHECKS == 0:
                self._stop_if_diverged(epoch)
                if self.group.agree(self.checkpoint.due):
                    self._write_checkpoint()
        self._stop_if_diverged(epoch)
        return self.group.add_up(self.means).take()

    def _validate(self) -> Record:
        return mean_terms(self.judged, self.validation)

    def _prune_after(self, epoch: int) -> None:
        """Prune where the settings say so; what was best before had weights that are gone."""
        if epoch not in self.settings.prune_epochs or not self.settings.prune_fraction:
            return
        prune_smallest(self.model, self.settings.prune_fraction)
        if self.averaged is not None:
            copy_masks(self.model, self.averaged.module)
        self.best_loss = self._patience_loss = math.inf

    def _keep_if_best(self, epoch: int, loss: float) -> None:
        if loss < self._patience_loss - self.settings.min_delta:
            self._patience_epoch, self._patience_loss = epoch, loss
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            self._best_weights = plain_weights(self.judged)

    def _out_of_patience(self) -> bool:
        waited = len(self.history) - self._patience_epoch
        return self.settings.patience is not None and waited >= self.settings.patience

    def _stop_if_diverged(self, epoch: int) -> None:
        done = self.group.total(self.losses[: self.sweep.step or self.sweep.steps])
        stop_if_diverged(
            done / self.group.size,
            epoch,
            self.sweep.steps,
            self.optimization.rate_at,
            self.history[-1]["train/loss"] if self.history else None,
        )

    def _stop_if_validation_diverged(self, record: Record) -> None:
        if not all(math.isfinite(value) for value in record.values()):
            raise TrainingDiverged(
                f"the validation loss is not finite after epoch {record['epoch']} (learning rate "
                f"{record['learning_rate']:.3g}, last finite training loss "
                f"{record['train/loss']:.4g}); lower learning_rate"
            )

    def _write_checkpoint(self) -> None:
        self._clock.count()
        state = self._state()
        if self.group.first:
            self.checkpoint.write(state)

    def _state(self) -> State:
        """Everything that the rest of the training depends on."""
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged and self.averaged.state_dict(),
            "optimization": self.optimization.state_dict(),
            "sweep": self.sweep.state_dict(),
            "losses": self.losses,
            # each process has its own
            "means": self.group.gather(self.means.state_dict()),
            "random": self.group.gather(random_state(self.device)),
            "history": self.history,
            "best": (self.best_epoch, self.best_loss, self._best_weights),
            "patience": (self._patience_epoch, self._patience_loss),
            "seconds": self.seconds,
        }

    def _restore(self, state: State) -> None:
        wear_masks(self.model, state["model"])
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            wear_masks(self.averaged, state["averaged"])
            self.averaged.load_state_dict(state["averaged"])
        self.optimization.load_state_dict(state["optimization"])
        self.sweep.load_state_dict(state["sweep"])
        self.losses.copy_(state["losses"])
        self.means.load_state_dict(state["means"][self.group.rank])
        set_random_state(state["random"][self.group.rank], self.device)
        self.history = state["history"]
        self.best_epoch, self.best_loss, self._best_weights = state["best"]
        self._patience_epoch, self._patience_loss = state["patience"]
        self._clock.seconds = state["seconds"]


def averaged(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """The exponential moving average of the weights.

    Over the first steps the decay is (1 + step) / (10 + step): what the weights were before they
    had learnt anything would otherwise stay in the average for as long as it remembers.
    """
    if decay is None:
        return None

    def average(averages: list[Tensor], weights: list[Tensor], taken: Tensor) -> None:
        step = int(taken)
        get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averages, weights, taken)

    return AveragedModel(model, multi_avg_fn=average)
