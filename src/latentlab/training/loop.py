"""The training loop of every model family that minimizes a single loss.

A model is a `models.io.TrainableModel` and provides `loss_terms`: named scalars with `loss` among
them. The loop differentiates `loss` and records the mean of every term.

Hand-written because an interrupted training has to resume bit-identically in the middle of an
epoch, which the common frameworks do not offer.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from latentlab.common.errors import TrainingDiverged
from latentlab.data.augmentation import Augmentation
from latentlab.data.image_set import ImageSet, ShuffledBatches
from latentlab.models.device import mixed_precision
from latentlab.models.inference import Means, mean_terms
from latentlab.models.io import TrainableModel
from latentlab.params.networks import OptimizationParams
from latentlab.training.checkpoint import (
    Checkpoint,
    State,
    Stopwatch,
    random_state,
    set_random_state,
)
from latentlab.training.distributed import ProcessGroup
from latentlab.training.optimization import Optimization
from latentlab.training.pruning import (
    copy_masks,
    make_pruning_permanent,
    plain_weights,
    prune_smallest,
    restore_masks,
)

Record = dict[str, float]
"""One epoch: `epoch` (from 1), `learning_rate` of its last step, `train/*` and `validation/*`."""

Model = TypeVar("Model", bound=TrainableModel)
Tensors = tuple[Tensor, ...] | list[Tensor]

STEPS_BETWEEN_CHECKS = 50
"""Steps between two checks for divergence; each check makes a GPU wait."""


class Training(Generic[Model]):
    """Trains one model; iterate over `epochs()` to run it.

    After `resume()` an interrupted training resumes at its last checkpoint and produces
    bit-identical results. With `group`, several processes train the model together.
    """

    def __init__(
        self,
        model: Model,
        settings: OptimizationParams,
        train: ImageSet,
        validation: ImageSet,
        seed: int,
        device: torch.device,
        checkpoint: Checkpoint | None = None,
        group: ProcessGroup | None = None,
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.settings = settings
        self.validation = validation.to(device)
        self.device = device
        self.group = group or ProcessGroup()
        self.checkpoint = checkpoint or Checkpoint()
        order = torch.Generator().manual_seed(seed)
        self.batches = ShuffledBatches(train.to(device), settings.batch_size, order)
        self.augment = Augmentation(settings.augmentation, train.image_shape[-1])
        self.optimization = Optimization(settings, self.model, self.batches.steps)
        self.ema = make_ema(self.model, settings.ema_decay)
        self.history: list[Record] = []
        self.times = [time.time()]
        """Unix time of the start, and of the end of each epoch."""
        self.best_epoch = 0
        self.best_loss = math.inf
        self._best_weights = plain_weights(self.eval_model)
        self._patience_epoch = 0
        self._patience_loss = math.inf
        self._loss_terms = self.group.data_parallel(self.model)
        self._means = Means(self.group.all_reduce)
        self._losses = torch.zeros(self.batches.steps, device=device)
        self._stopwatch = Stopwatch()
        self._smallest_batch = 2 * self.group.world_size if _has_batch_norm(model) else 1

    @property
    def eval_model(self) -> Model:
        """The network that is validated and saved: the EMA of the weights if there is one."""
        return self.model if self.ema is None else cast(Model, self.ema.module)

    @property
    def seconds(self) -> float:
        """Seconds of training up to the last completed epoch or checkpoint.

        Those before a `resume` are included.
        """
        return self._stopwatch.seconds

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or the patience has run out."""
        waited = len(self.history) - self._patience_epoch
        stopped_early = self.settings.patience is not None and waited >= self.settings.patience
        return stopped_early or len(self.history) >= self.settings.epochs

    def epochs(self, stop_epoch: int | None = None) -> Iterator[Record]:
        """Train until `finished` or up to `stop_epoch`; yield the record of each epoch.

        Epochs from before a `resume` are in `history` and are not yielded again. Raises
        TrainingDiverged if a loss is NaN or infinite.
        """
        while not self.finished and (stop_epoch is None or len(self.history) < stop_epoch):
            epoch = len(self.history) + 1
            self._stopwatch.start()

            # train
            train_terms = self.train_epoch(epoch)

            # prune
            if epoch in self.settings.prune_epochs and self.settings.prune_fraction:
                self._prune()

            # validate
            terms = mean_terms(self.eval_model, self.validation) if self.group.is_main else {}
            validation_terms = self.group.broadcast(terms)
            record = {
                "epoch": epoch,
                "learning_rate": self.optimization.learning_rate,
                **{f"train/{name}": value for name, value in train_terms.items()},
                **{f"validation/{name}": value for name, value in validation_terms.items()},
            }
            _check_record(record)

            # remember the best weights
            self._update_best(epoch, validation_terms["loss"])
            self.history.append(record)
            self.times.append(time.time())

            # save
            self._stopwatch.lap()
            if self.checkpoint.due() or self.finished or epoch == stop_epoch:
                self._write_checkpoint()
            yield record

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch, counted from 1, and return the mean of every term.

        With batch norm, a last batch that is too small is skipped.
        """
        self.model.start_epoch(epoch)
        self.model.train()
        for images, labels in self.batches:
            if len(images) < self._smallest_batch:
                continue  # batch norm cannot estimate a variance from one image per process

            # augment, before the split into shards: all processes draw the same for the whole batch
            shard = self.group.shard(self.augment(images), labels)

            # forward
            with mixed_precision(self.device, self.settings.precision):
                terms = self._loss_terms(shard.images, shard.labels)

            # backward
            loss = terms["loss"] * shard.weight
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it

            # update the weights: L1 gradient, clipping, scheduled learning rate, optimizer
            self.optimization.step()
            if self.ema is not None:
                self.ema.update_parameters(self.model)

            # record
            self._means.add(terms, shard.count)
            self._losses[self.batches.step - 1] = terms["loss"].detach()
            if self.batches.step % STEPS_BETWEEN_CHECKS == 0:
                self._check_losses(epoch)
                if self.checkpoint.due():
                    self._stopwatch.lap()
                    self._write_checkpoint()
        self._check_losses(epoch)
        return self._means.compute_and_reset()

    def restore_best(self) -> Model:
        """Load the weights with the lowest validation loss since the last pruning.

        Returns the model in evaluation mode.
        """
        make_pruning_permanent(self.model)
        self.model.load_state_dict(self._best_weights)
        return self.model.eval()

    def resume(self) -> None:
        """Continue from the checkpoint if there is one."""
        saved = self.checkpoint.read()
        if saved is not None:
            self._restore(*saved)

    def _prune(self) -> None:
        """Prune the model; the best epoch so far no longer counts, because it had more weights."""
        prune_smallest(self.model, self.settings.prune_fraction)
        if self.ema is not None:
            copy_masks(self.model, self.ema.module)
        self.best_loss = self._patience_loss = math.inf

    def _update_best(self, epoch: int, loss: float) -> None:
        if loss < self._patience_loss - self.settings.min_delta:
            self._patience_epoch, self._patience_loss = epoch, loss
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            self._best_weights = plain_weights(self.eval_model)

    def _check_losses(self, epoch: int) -> None:
        done = self._losses[: self.batches.step or self.batches.steps]
        check_losses(
            self.group.all_reduce(done) / self.group.world_size,
            epoch,
            self.batches.steps,
            self.optimization.rate_at,
            self.history[-1]["train/loss"] if self.history else None,
        )

    def _write_checkpoint(self) -> None:
        """Save everything that the rest of the training depends on."""
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema and self.ema.state_dict(),
            "optimization": self.optimization.state_dict(),
            "batches": self.batches.state_dict(),
            "losses": self._losses,
            "history": self.history,
            "times": self.times,
            "best": (self.best_epoch, self.best_loss, self._best_weights),
            "patience": (self._patience_epoch, self._patience_loss),
            "seconds": self.seconds,
        }
        own = {"means": self._means.state_dict(), "random": random_state(self.device)}
        self.checkpoint.write(state, own)

    def _restore(self, state: State, own: State) -> None:
        restore_masks(self.model, state["model"])
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            restore_masks(self.ema, state["ema"])
            self.ema.load_state_dict(state["ema"])
        self.optimization.load_state_dict(state["optimization"])
        self.batches.load_state_dict(state["batches"])
        self._losses.copy_(state["losses"])
        self.history, self.times = state["history"], state["times"]
        self.best_epoch, self.best_loss, self._best_weights = state["best"]
        self._patience_epoch, self._patience_loss = state["patience"]
        self._stopwatch.seconds = state["seconds"]
        self._means.load_state_dict(own["means"])
        set_random_state(own["random"], self.device)


def make_ema(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """Return the exponential moving average of the weights, or None without a decay.

    The decay is min(decay, (1 + step) / (10 + step)), where `step` is the number of averaged steps
    so far. It is small in the first steps, so that the average forgets the initial random weights.
    """
    if decay is None:
        return None

    def average(averages: Tensors, weights: Tensors, taken: Tensor | int) -> None:
        step = int(taken)
        update = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]  # not annotated
        update(averages, weights, taken)

    return AveragedModel(model, multi_avg_fn=average)


def check_losses(
    losses: Tensor,
    epoch: int,
    steps: int,
    rate_at: Callable[[int], float],
    previous_epoch_loss: float | None,
    parameter: str = "learning_rate",
) -> None:
    """Raise TrainingDiverged if a loss is not finite.

    `losses` [n] are those of the steps done so far in the epoch, `steps` is the number of steps per
    epoch, `rate_at` returns the learning rate of a step counted from 0 over the whole training,
    `previous_epoch_loss` is the mean loss of the previous epoch (None in the first), and
    `parameter` is the parameter that the message advises to lower.
    """
    finite = losses.isfinite()
    if bool(finite.all()):
        return
    step = int(finite.logical_not().nonzero()[0, 0])
    last = float(losses[step - 1]) if step else previous_epoch_loss
    raise TrainingDiverged(
        f"the loss is not finite in epoch {epoch}, step {step + 1} of {steps} "
        f"(learning rate {rate_at((epoch - 1) * steps + step):.3g}, last finite loss "
        f"{'none' if last is None else f'{last:.4g}'}); lower {parameter}"
    )


def _check_record(record: Record) -> None:
    """Raise TrainingDiverged if a value of the record is not finite.

    The message names the validation loss, but any value of the record triggers it.
    """
    if not all(math.isfinite(value) for value in record.values()):
        raise TrainingDiverged(
            f"the validation loss is not finite after epoch {record['epoch']} (learning rate "
            f"{record['learning_rate']:.3g}, last finite training loss "
            f"{record['train/loss']:.4g}); lower learning_rate"
        )


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d) for each in model.modules())
