import pytest
import torch
from sklearn.model_selection import StratifiedKFold

from latentlab.common.errors import DataError
from latentlab.data.splits import stratified_folds


def labels(counts=(40, 20, 10)):
    drawn = torch.cat([torch.full((count,), kind) for kind, count in enumerate(counts)])
    return drawn[torch.randperm(len(drawn), generator=torch.Generator().manual_seed(0))]


def test_every_image_is_held_out_exactly_once():
    kinds = labels()
    held_out = torch.cat([part for _, part in stratified_folds(kinds, 5, seed=0)])

    assert held_out.sort().values.tolist() == list(range(len(kinds)))


def test_the_others_are_trained_on():
    kinds = labels()
    for kept, held_out in stratified_folds(kinds, 5, seed=0):
        assert torch.cat([kept, held_out]).sort().values.tolist() == list(range(len(kinds)))


def test_every_part_has_the_shares_of_the_classes():
    kinds = labels()
    for kept, held_out in stratified_folds(kinds, 5, seed=0):
        assert kinds[held_out].bincount().tolist() == [8, 4, 2]
        assert kinds[kept].bincount().tolist() == [32, 16, 8]


def test_the_parts_are_those_of_scikit_learn():
    kinds = labels()
    reference = StratifiedKFold(4, shuffle=True, random_state=3).split(kinds, kinds)

    for ours, theirs in zip(stratified_folds(kinds, 4, seed=3), reference, strict=True):
        assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]


def test_the_parts_follow_the_seed():
    def parts(seed):
        return [part.tolist() for _, part in stratified_folds(labels(), 5, seed)]

    assert parts(0) == parts(0)
    assert parts(0) != parts(1)


def test_too_few_images_of_a_class_are_refused_with_how_many_folds_there_may_be():
    with pytest.raises(DataError, match=r"folds = 4.* only 3 training images; allowed: 2 to 3"):
        list(stratified_folds(labels((8, 3)), 4, seed=0))
