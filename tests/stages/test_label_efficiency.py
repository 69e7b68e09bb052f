import torch

from latentlab.stages.finetune.label_efficiency import repeat_up_to, sample_per_class

LABELS = torch.tensor([0] * 50 + [2] * 30 + [1] * 3)


def test_each_class_has_the_same_number_of_labels_if_it_has_enough_images():
    indices = sample_per_class(LABELS, 10, seed=0)

    assert LABELS[indices].bincount().tolist() == [10, 3, 10]
    assert len(set(indices.tolist())) == len(indices)


def test_another_seed_chooses_other_images():
    first, again, other = (sample_per_class(LABELS, 10, seed).tolist() for seed in (0, 0, 1))

    assert first == again
    assert set(first) != set(other)


def test_few_images_are_repeated_and_many_are_not_cut():
    assert repeat_up_to(torch.arange(3), 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert repeat_up_to(torch.arange(3), 2).tolist() == [0, 1, 2]
