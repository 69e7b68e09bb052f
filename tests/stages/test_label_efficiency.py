import pytest
import torch

from latentlab.stages.finetune.label_efficiency import labelled, repeated

LABELS = torch.tensor([0] * 50 + [2] * 30 + [1] * 3)


def test_so_many_images_of_each_class_are_labelled():
    chosen = labelled(LABELS, 10, seed=0)

    assert LABELS[chosen].bincount().tolist() == [10, 3, 10]
    assert len(set(chosen.tolist())) == len(chosen)


def test_other_seeds_label_other_images():
    first, again, other = (labelled(LABELS, 10, seed).tolist() for seed in (0, 0, 1))

    assert first == again
    assert set(first) != set(other)


@pytest.mark.parametrize(("count", "expected"), [(7, [0, 1, 2, 0, 1, 2, 0]), (2, [0, 1, 2])])
def test_the_few_are_repeated_until_there_are_as_many_as_asked_for(count, expected):
    assert repeated(torch.arange(3), count).tolist() == expected
