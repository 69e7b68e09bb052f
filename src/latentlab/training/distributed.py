"""Data-parallel training of one network by several processes that `torchrun` starts.

Each process trains on its shard of every batch. DistributedDataParallel averages the gradients, and
each shard is weighted by its size, so the steps equal those of a single process up to rounding.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from latentlab.common import processes
from latentlab.common.errors import EnvironmentProblem
from latentlab.models.io import TrainableModel

Value = TypeVar("Value")
Terms = dict[str, Tensor]
LossTerms = Callable[[Tensor, Tensor], Terms]

GLOO = "/gloo/"
"""Part of every message of the gloo backend, which has no exception type of its own."""


@dataclass(frozen=True)
class Shard:
    """The part of a batch that one process trains on.

    `count` is the number of images that contribute to the gradient. `weight` scales the mean loss
    of the shard so that the average gradient over all processes is that of the whole batch.
    """

    images: Tensor
    labels: Tensor
    count: int
    weight: float


class ProcessGroup:
    """The processes of one training; a single process needs no communication."""

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size

    @classmethod
    def init(cls, device: torch.device) -> "ProcessGroup":
        """Initialize communication with the other processes that `torchrun` started, if any."""
        if processes.world_size() > 1:
            if device.type == "cuda":
                torch.cuda.set_device(processes.local_rank())
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(processes.rank(), processes.world_size())

    @property
    def is_main(self) -> bool:
        """Whether this process validates, writes and shows progress."""
        return self.rank == 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Shut communication down at the end; raise EnvironmentProblem if a process was lost."""
        try:
            yield
        except RuntimeError as error:
            if not (isinstance(error, distributed.DistError) or GLOO in str(error)):
                raise
            raise EnvironmentProblem(
                f"one of the {self.world_size} processes of this training was lost; start them "
                "again: training resumes from the last checkpoint"
            ) from error
        if self.world_size > 1:
            distributed.destroy_process_group()

    def data_parallel(self, model: TrainableModel) -> LossTerms:
        """Return `model.loss_terms` with gradients averaged over the processes."""
        if self.world_size == 1:
            return lambda images, labels: model.loss_terms(images, labels)
        # a performance hint about the memory layout of gradients; nothing can be done about it
        warnings.filterwarnings("ignore", message="Grad strides do not match")
        return nn.parallel.DistributedDataParallel(_LossTerms(model))

    def shard(self, images: Tensor, labels: Tensor) -> Shard:
        """Return the part of a batch [B, C, S, S], [B] for this process.

        A process without images gets one with weight zero, because every process must take part in
        averaging the gradients.
        """
        total = len(labels)
        if self.rank >= total:
            return Shard(images[:1], labels[:1], 0, 0.0)
        labels = labels[self.rank :: self.world_size]
        weight = len(labels) * self.world_size / total
        return Shard(images[self.rank :: self.world_size], labels, len(labels), weight)

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes."""
        if self.world_size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def broadcast(self, value: Value) -> Value:
        """Return the value of the main process, so that all processes decide alike."""
        values = [value]
        if self.world_size > 1:
            distributed.broadcast_object_list(values)
        return values[0]

    def all_gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, ordered by rank."""
        values = [value] * self.world_size
        if self.world_size > 1:
            distributed.all_gather_object(values, value)
        return values


class _LossTerms(nn.Module):
    """`loss_terms` as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, model: TrainableModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor) -> Terms:
        return self.model.loss_terms(images, labels)
