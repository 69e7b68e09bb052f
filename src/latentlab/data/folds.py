"""The parts of a k-fold cross-validation."""

from collections.abc import Iterator

import torch
from torch import Tensor

from latentlab.errors import DataError


def check_folds(labels: Tensor, folds: int) -> None:
    """Raise DataError where a class of labels [N] has fewer images than there are folds."""
    fewest = int(labels.unique(return_counts=True)[1].min())
    if fewest < folds:
        raise DataError(
            f"folds = {folds}, but a class has only {fewest} training images; "
            f"allowed: 2 to {fewest}"
        )


def stratified_folds(labels: Tensor, folds: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices to train on and indices held out, for each of `folds` parts of labels [N]."""
    from sklearn.model_selection import StratifiedKFold

    check_folds(labels, folds)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    for kept, held_out in parts:
        yield torch.from_numpy(kept), torch.from_numpy(held_out)
