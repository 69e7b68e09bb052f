"""Several processes that train one network together, each on its share of every batch.

`torchrun` starts them. Gradients are averaged by DistributedDataParallel; shares are weighted by
their size, so that the steps are those of one process but for rounding.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from latentlab import world
from latentlab.errors import EnvironmentProblem
from latentlab.networks.means import Means

Terms = dict[str, Tensor]


class Group:
    """The processes of a training: this one alone, or those that `torchrun` started."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @classmethod
    def join(cls, device: torch.device) -> "Group":
        """Meet the other processes, if there are any."""
        if world.size() > 1:
            if device.type == "cuda":
                torch.cuda.set_device(world.local_rank())
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(world.rank(), world.size())

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Part from the others at the end; EnvironmentProblem where one of them was lost."""
        try:
            yield
        except RuntimeError as fault:
            if not (isinstance(fault, distributed.DistError) or GLOO in str(fault)):
                raise
            raise EnvironmentProblem(
                f"one of the {self.size} processes of this training was lost; start them again: "
                "they go on from the last checkpoint"
            ) from fault
        if self.size > 1:
            distributed.destroy_process_group()

    def loss_terms(self, model: nn.Module) -> Callable[[Tensor, Tensor], Terms]:
        """`model.loss_terms`, with gradients that are averaged over the processes."""
        if self.size == 1:
            return lambda images, labels: model.loss_terms(images, labels)
        # of the memory layout of gradients, which costs a copy
        warnings.filterwarnings("ignore", message="Grad strides do not match")
        return nn.parallel.DistributedDataParallel(_LossTerms(model))

    def share(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
        """The part of a batch for this process, and how many of its images count."""
        if self.rank >= len(labels):  # gradients come from every process, if only zeros
            return images[:1], labels[:1], 0
        images, labels = images[self.rank :: self.size], labels[self.rank :: self.size]
        return images, labels, len(labels)

    def add_up(self, means: Means) -> Means:
        """The means over the images of all processes."""
        if self.size > 1:
            state = means.state_dict()
            names = list(state["sums"])
            count = torch.tensor(float(state["count"]), device=state["sums"][names[0]].device)
            total = self.total(torch.stack([*state["sums"].values(), count]))
            means.load_state_dict(
                {"sums": dict(zip(names, total, strict=False)), "count": int(total[-1])}
            )
        return means

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def agree(self, value: Any) -> Any:
        """What the first process says, so that all of them do the same."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        values = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(values, value)
        return values


GLOO = "/gloo/"
"""In what gloo says, which has no error of its own: the file of its source."""


class _LossTerms(nn.Module):
    """`loss_terms` as the forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor) -> Terms:
        return self.model.loss_terms(images, labels)
