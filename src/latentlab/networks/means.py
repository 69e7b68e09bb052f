"""Means over images of what was computed batch by batch."""

from typing import Any

from torch import Tensor


class Means:
    """Means over images of terms that are means over batches; summed where they are computed."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, terms: dict[str, Tensor], count: int) -> None:
        """Add the terms of a batch of `count` images."""
        for name, value in terms.items():
            share = value.detach().float() * count  # a sum in bfloat16 stops growing at 256 parts
            self._sums[name] = self._sums[name] + share if name in self._sums else share
        self._count += count

    def take(self) -> dict[str, float]:
        """The means so far; starts anew."""
        means = {name: float(total) / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {"sums": self._sums, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the sums of another."""
        self._sums, self._count = dict(state["sums"]), state["count"]
