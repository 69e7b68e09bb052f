from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedKFold

from latentlab.common.errors import DataError
from latentlab.data.sources import RawDataset
from latentlab.data.splits import Split, split_rows, statistics, stratified_folds


def dataset(*counts, official_test=None):
    """Return different images in shuffled order, with the given number per class."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    splits = {"train": (numbered(len(labels)), labels)}
    if official_test:
        splits["test"] = (numbered(official_test, 10_000), np.arange(official_test) % len(counts))
    return RawDataset(tuple(f"class {n}" for n in range(len(counts))), splits, {})


def numbered(count, start=0):
    """Return images [count, 1, 2, 2] whose pixels encode their index."""
    numbers = np.arange(start, start + count, dtype=np.uint32)
    return numbers.view(np.uint8).reshape(count, 1, 2, 2)


def numbers(split):
    images = split[:]
    return np.ascontiguousarray(images).reshape(len(images), 4).view(np.uint32)[:, 0].tolist()


def make_splits(raw, validation_fraction, test_fraction, seed):
    rows = split_rows(raw, validation_fraction, test_fraction, seed)
    return {split: Split(raw, rows[split]) for split in rows}


def split_error(*arguments):
    with pytest.raises(DataError) as caught:
        make_splits(*arguments, seed=0)
    assert caught.value.exit_code == 3
    return caught.value


class TestSplits:
    @pytest.mark.parametrize("counts", [(50, 50), (97, 31, 12), (5, 5, 5, 5), (1000, 5)])
    def test_every_image_is_in_exactly_one_split_with_its_label(self, counts):
        raw = dataset(*counts)

        splits = make_splits(raw, 0.1, 0.2, seed=0)

        assert tuple(splits) == ("train", "validation", "test")
        assigned = [number for split in splits.values() for number in numbers(split)]
        assert sorted(assigned) == list(range(sum(counts)))
        for split in splits.values():
            np.testing.assert_array_equal(raw.splits["train"][1][numbers(split)], split.labels)

    def test_a_class_whose_training_images_are_all_in_a_given_test_split_is_an_error(self):
        labels = np.repeat([0, 1], 8)
        test = (numbered(8, 10_000), np.repeat([0, 1], 4))
        raw = replace(dataset(8, 8), splits={"train": (numbered(16), labels), "test": test})
        groups = np.arange(24)
        groups[8:16] = 20  # all images of the second class equal a test image

        with pytest.raises(DataError, match="no training image of 'class 1' is left"):
            split_rows(raw, 0.2, 0.2, 0, groups)

    def test_duplicates_are_drawn_together(self):
        raw = dataset(60, 40)
        groups = np.arange(100)
        groups[50:70] = groups[:20]

        rows = split_rows(raw, 0.25, 0.3, 0, groups)

        assert sorted(np.concatenate([*rows.values()])) == list(range(100))
        members = [set(groups[each]) for each in rows.values()]
        assert sum(map(len, members)) == len(set.union(*members)) == 80
        assert 15 < len(rows["test"]) < 45

    def test_duplicates_of_given_test_images_are_left_out_of_the_other_splits(self):
        raw = dataset(60, 40, official_test=20)
        raw.splits["validation"] = numbered(10, 20_000), np.arange(10) % 2
        groups = np.arange(130)  # in the order train, test, validation
        groups[[100, 120]] = 7
        groups[121] = 8

        rows = split_rows(raw, 0.25, 0.3, 0, groups)

        assert rows["test"].tolist() == list(range(100, 120))
        assert rows["validation"].tolist() == list(range(121, 130))
        assert rows["train"].tolist() == [row for row in range(100) if row not in (7, 8)]

    def test_without_duplicates_the_splits_are_those_of_a_published_dataset(self):
        raw = dataset(60, 40)

        with_groups = split_rows(raw, 0.25, 0.3, 0, np.arange(100))

        for split, rows in split_rows(raw, 0.25, 0.3, 0).items():
            np.testing.assert_array_equal(with_groups[split], rows)

    def test_copies_of_one_image_are_too_few_for_a_class(self, message):
        raw, groups = dataset(60, 5), np.arange(65)
        copies = np.flatnonzero(raw.splits["train"][1] == 1)
        groups[copies] = copies[0]

        with pytest.raises(DataError) as caught:
            split_rows(raw, 0.25, 0.3, 0, groups)
        message("data/one different image in a class", caught.value)

    @pytest.mark.parametrize(
        ("counts", "validation", "test"),
        [((50, 50), 0.25, 0.5), ((97, 31, 12), 0.1, 0.2), ((400, 5, 300), 0.15, 0.05)],
    )
    def test_class_proportions_are_preserved_to_within_one_image(self, counts, validation, test):
        splits = make_splits(dataset(*counts), validation, test, seed=3)

        shares = {"test": test, "validation": validation * (1 - test)}
        shares["train"] = 1 - sum(shares.values())
        for split, share in shares.items():
            actual = np.bincount(splits[split].labels, minlength=len(counts))
            # the training split has the rounding errors of both others
            tolerance = 2 if split == "train" else 1.5
            np.testing.assert_allclose(actual, share * np.array(counts), atol=tolerance)

    @pytest.mark.parametrize("counts", [(1000, 5), (400, 5, 300), (5, 5, 5, 2000)])
    def test_every_split_has_every_class_however_small(self, counts):
        for validation, test in ((0.1, 0.2), (0.5, 0.3), (0.01, 0.01)):
            for seed in range(5):
                splits = make_splits(dataset(*counts), validation, test, seed)

                for split in splits.values():
                    assert set(split.labels) == set(range(len(counts)))

    def test_the_sizes_follow_the_fractions(self):
        splits = make_splits(dataset(500, 500), 0.1, 0.2, seed=0)

        assert {name: len(split) for name, split in splits.items()} == {
            "train": 720,
            "validation": 80,
            "test": 200,
        }

    def test_images_stay_in_order(self):
        for split in make_splits(dataset(50, 50), 0.1, 0.2, seed=0).values():
            assert numbers(split) == sorted(numbers(split))

    def test_the_splits_depend_on_the_seed(self):
        def test_images(seed):
            return numbers(make_splits(dataset(50, 50), 0.1, 0.2, seed)["test"])

        assert test_images(1) == test_images(1)
        assert test_images(1) != test_images(2)

    def test_an_official_test_split_is_used_unchanged(self):
        raw = dataset(50, 50, official_test=30)

        splits = make_splits(raw, 0.1, 0.7, seed=0)

        assert numbers(splits["test"]) == list(range(10_000, 10_030))
        assert len(splits["validation"]) == 10
        assert len(splits["train"]) == 90

    def test_an_official_validation_split_is_kept_and_the_test_split_drawn(self):
        raw = dataset(50, 50)
        given = (numbered(10, 20_000), np.arange(10) % 2)

        splits = make_splits(replace(raw, splits=raw.splits | {"validation": given}), 0.1, 0.2, 0)

        assert numbers(splits["validation"]) == list(range(20_000, 20_010))
        assert (len(splits["train"]), len(splits["test"])) == (80, 20)

    def test_all_official_splits_are_used_unchanged(self):
        raw = dataset(50, 50, official_test=30)
        given = (numbered(10, 20_000), np.arange(10) % 2)

        splits = make_splits(replace(raw, splits=raw.splits | {"validation": given}), 0.1, 0.2, 0)

        assert {name: len(split) for name, split in splits.items()} == {
            "train": 100,
            "validation": 10,
            "test": 30,
        }

    def test_images_without_labels_are_split_at_random(self):
        raw = RawDataset((), {"train": (numbered(100), np.zeros(100, np.int64))}, {})

        splits = make_splits(raw, 0.1, 0.2, seed=0)

        assert [len(split) for split in splits.values()] == [72, 8, 20]

    @pytest.mark.parametrize("count", [1, 4, 8])
    def test_too_few_images_without_labels_are_rejected(self, count, message):
        raw = RawDataset((), {"train": (numbered(count), np.zeros(count, np.int64))}, {})

        message(f"data/splits: {count} images without labels", split_error(raw, 0.1, 0.2))

    def test_an_official_split_that_is_too_small_is_rejected(self, message):
        message(
            "data/splits: small official split",
            split_error(dataset(50, 50, official_test=3), 0.1, 0.2),
        )

    def test_too_few_images_for_the_fractions_are_rejected(self, message):
        message("data/splits: too few images", split_error(dataset(5, 5), 0.1, 0.9))

    def test_images_without_classes_are_split_too(self, message):
        unlabeled = RawDataset((), dataset(30).splits, {})

        splits = make_splits(unlabeled, 0.1, 0.2, seed=0)

        assert {name: len(split) for name, split in splits.items()} == {
            "train": 20,
            "validation": 4,
            "test": 6,
        }
        few = RawDataset((), dataset(4).splits, {})
        message("data/splits: too few images without classes", split_error(few, 0.1, 0.2))

    def test_a_class_that_the_test_split_uses_up_is_named(self, message):
        message("data/splits: too few images in class", split_error(dataset(100, 5), 0.1, 0.8))


class TestStatistics:
    @pytest.mark.parametrize("shape", [(5000, 3, 4, 4), (4097, 1, 2, 2)])
    def test_they_are_the_mean_and_standard_deviation_of_each_channel(self, shape):
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

        mean, std = statistics(images)

        np.testing.assert_allclose(mean, (images / 255).mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(std, (images / 255).std((0, 2, 3)), rtol=1e-12)

    def test_constant_images_have_no_deviation(self):
        mean, std = statistics(np.full((3, 1, 4, 4), 51, np.uint8))

        assert mean == [0.2]
        assert std == [0.0]


class TestFolds:
    @staticmethod
    def labels(counts=(40, 20, 10)):
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]

    def test_every_image_is_held_out_exactly_once_and_used_for_training_otherwise(self):
        labels = self.labels()
        folds = list(stratified_folds(labels, 5, seed=0))

        every_index = list(range(len(labels)))
        assert torch.cat([held_out for _, held_out in folds]).sort().values.tolist() == every_index
        for fold in folds:
            assert torch.cat(fold).sort().values.tolist() == every_index

    def test_every_fold_preserves_the_class_proportions(self):
        labels = self.labels()
        for training, held_out in stratified_folds(labels, 5, seed=0):
            assert labels[held_out].bincount().tolist() == [8, 4, 2]
            assert labels[training].bincount().tolist() == [32, 16, 8]

    def test_the_folds_are_those_of_scikit_learn(self):
        labels = self.labels()
        for seed in (3, 4):
            reference = StratifiedKFold(4, shuffle=True, random_state=seed).split(labels, labels)

            folds = stratified_folds(labels, 4, seed)
            for ours, theirs in zip(folds, reference, strict=True):
                assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]

    def test_a_class_with_fewer_images_than_folds_is_rejected(self, message):
        with pytest.raises(DataError) as caught:
            list(stratified_folds(self.labels((8, 3)), 4, seed=0))

        message("data/splits: more folds than images of a class", caught.value)
