"""The training loop of every family with one loss.

A model has `loss_terms(images, labels)`: named scalars with `loss` among them. The loop
differentiates `loss` and records every term.
"""

import copy
import math
from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from latentlab.data.image_set import ImageSet
from latentlab.errors import TrainingDiverged
from latentlab.models.inference import mean_terms
from latentlab.params import OptimizationParams
from latentlab.runtime import mixed_precision
from latentlab.training.optimization import make_optimizer, make_schedule
from latentlab.training.record import Record


class Training:
    """One training of one model; `epochs()` does the work, one record at a time."""

    def __init__(
        self,
        model: nn.Module,
        settings: OptimizationParams,
        train: ImageSet,
        validation: ImageSet,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)
        self.settings = settings
        self.train = train.to(device)
        self.validation = validation.to(device)
        self.device = device
        self.steps_per_epoch = math.ceil(len(train) / settings.batch_size)
        self.optimizer = make_optimizer(settings, model.parameters())
        self.schedule = make_schedule(
            settings, self.optimizer, settings.epochs * self.steps_per_epoch
        )
        self.order = torch.Generator().manual_seed(seed)
        self.history: list[Record] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self._best_weights = copy.deepcopy(model.state_dict())

    def epochs(self) -> Iterator[Record]:
        """Train; yield the record of each epoch until the budget or the patience is spent.

        Raises TrainingDiverged where a loss is NaN or infinite.
        """
        for epoch in range(1, self.settings.epochs + 1):
            train_terms = self._train_epoch()
            validation_terms = mean_terms(self.model, self.validation)
            record = {
                "epoch": epoch,
                "learning_rate": self.schedule.get_last_lr()[0],
                **{f"train/{name}": value for name, value in train_terms.items()},
                **{f"validation/{name}": value for name, value in validation_terms.items()},
            }
            self._stop_if_diverged(record)
            self._keep_if_best(epoch, validation_terms["loss"])
            self.history.append(record)
            yield record
            if self.settings.patience and epoch - self.best_epoch >= self.settings.patience:
                return

    def restore_best(self) -> nn.Module:
        """Put back the weights of the epoch with the lowest validation loss."""
        self.model.load_state_dict(self._best_weights)
        return self.model.eval()

    def _train_epoch(self) -> Record:
        self.model.train()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        for images, labels in self.train.batches(self.settings.batch_size, self.order):
            self.optimizer.zero_grad(set_to_none=True)
            with mixed_precision(self.device):
                terms = self.model.loss_terms(images, labels)
            terms["loss"].backward()
            self.optimizer.step()
            self.schedule.step()
            for name, value in terms.items():
                sums[name] += value.detach() * len(images)
        return {name: float(total) / len(self.train) for name, total in sums.items()}

    def _stop_if_diverged(self, record: Record) -> None:
        if all(math.isfinite(value) for value in record.values()):
            return
        last = self.history[-1]["train/loss"] if self.history else "none"
        raise TrainingDiverged(
            f"the loss is not finite in epoch {record['epoch']:.0f} (learning rate "
            f"{record['learning_rate']:.3g}, last finite loss {last}); lower learning_rate"
        )

    def _keep_if_best(self, epoch: int, loss: float) -> None:
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            self._best_weights = copy.deepcopy(self.model.state_dict())
