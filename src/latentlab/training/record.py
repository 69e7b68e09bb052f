"""What every kind of training has in common."""

from collections.abc import Iterator
from typing import Protocol

from torch import nn

from latentlab.params.fields import Section

Record = dict[str, float]
"""`epoch` (from 1), `learning_rate` (its last), `train/<term>` and `validation/<term>`."""


class FollowedTraining(Protocol):
    """A training as a stage follows it."""

    settings: Section
    history: list[Record]
    best_epoch: int

    @property
    def seconds(self) -> float:
        """Of work on it so far."""

    def resume(self) -> None:
        """Go on where the checkpoint stands, if there is one."""

    def epochs(self) -> Iterator[Record]:
        """Train; yield the record of each epoch."""

    def restore_best(self) -> nn.Module:
        """The network with the weights that are kept."""
