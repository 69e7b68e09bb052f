import numpy as np
import pytest

from latentlab.common.errors import DataError
from latentlab.data.sources import RawDataset
from latentlab.data.splits import make_splits, statistics


def dataset(*counts, official_test=None):
    """Images that are all different, `counts` of them per class, in a mixed order."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    splits = {"train": (numbered(len(labels)), labels)}
    if official_test:
        splits["test"] = (numbered(official_test, 10_000), np.arange(official_test) % len(counts))
    return RawDataset(tuple(f"class {n}" for n in range(len(counts))), splits, {})


def numbered(count, start=0):
    """Images [count, 1, 2, 2] whose pixels hold their own number."""
    numbers = np.arange(start, start + count, dtype=np.uint32)
    return numbers.view(np.uint8).reshape(count, 1, 2, 2)


def numbers(images):
    return np.ascontiguousarray(images).reshape(len(images), 4).view(np.uint32)[:, 0].tolist()


@pytest.mark.parametrize("counts", [(50, 50), (97, 31, 12), (5, 5, 5, 5), (1000, 5), (400, 5, 300)])
def test_every_image_lands_in_exactly_one_split_with_its_label(counts):
    raw = dataset(*counts)

    splits = make_splits(raw, 0.1, 0.2, seed=0)

    assert tuple(splits) == ("train", "validation", "test")
    landed = [number for images, _ in splits.values() for number in numbers(images)]
    assert sorted(landed) == list(range(sum(counts)))
    for images, labels in splits.values():
        np.testing.assert_array_equal(raw.splits["train"][1][numbers(images)], labels)


@pytest.mark.parametrize("counts", [(50, 50), (97, 31, 12), (1000, 5), (400, 5, 300)])
@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.25, 0.5), (0.15, 0.05)])
def test_classes_are_shared_out_to_within_one_image(counts, validation, test):
    splits = make_splits(dataset(*counts), validation, test, seed=3)

    shares = {"test": test, "validation": validation * (1 - test)}
    shares["train"] = 1 - sum(shares.values())
    for split, share in shares.items():
        found = np.bincount(splits[split][1], minlength=len(counts))
        # the train split bears the rounding of the two others
        tolerance = 2 if split == "train" else 1.5
        np.testing.assert_allclose(found, share * np.array(counts), atol=tolerance)


@pytest.mark.parametrize("counts", [(1000, 5), (400, 5, 300), (5, 5, 5, 2000)])
@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.5, 0.3), (0.01, 0.01)])
def test_no_split_lacks_a_class_however_small(counts, validation, test):
    for seed in range(5):
        splits = make_splits(dataset(*counts), validation, test, seed)

        for _, labels in splits.values():
            assert set(labels) == set(range(len(counts)))


def test_the_sizes_are_those_asked_for():
    splits = make_splits(dataset(500, 500), 0.1, 0.2, seed=0)

    assert {split: len(labels) for split, (_, labels) in splits.items()} == {
        "train": 720,
        "validation": 80,
        "test": 200,
    }


def test_images_keep_their_order():
    for images, _ in make_splits(dataset(50, 50), 0.1, 0.2, seed=0).values():
        assert numbers(images) == sorted(numbers(images))


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    def test_images(seed):
        return numbers(make_splits(dataset(50, 50), 0.1, 0.2, seed)["test"][0])

    assert test_images(1) == test_images(1)
    assert test_images(1) != test_images(2)


def test_an_official_test_split_is_used_as_it_is():
    raw = dataset(50, 50, official_test=30)

    splits = make_splits(raw, 0.1, 0.7, seed=0)

    assert numbers(splits["test"][0]) == list(range(10_000, 10_030))
    assert len(splits["validation"][1]) == 10
    assert len(splits["train"][1]) == 90


def test_too_few_images_for_the_fractions_are_refused():
    with pytest.raises(DataError, match="10 images in 2 classes are too few to split off 9") as e:
        make_splits(dataset(5, 5), 0.1, 0.9, seed=0)
    assert e.value.exit_code == 3


def test_a_class_used_up_by_the_test_split_is_named():
    with pytest.raises(DataError, match=r"in class 'class 1': one is left; .* data.test_fraction"):
        make_splits(dataset(100, 5), 0.1, 0.8, seed=0)


@pytest.mark.parametrize("shape", [(10, 1, 8, 8), (5000, 3, 4, 4), (4097, 1, 2, 2)])
def test_statistics_are_the_mean_and_deviation_of_each_channel(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    mean, std = statistics(images)

    np.testing.assert_allclose(mean, (images / 255).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 2, 3)), rtol=1e-12)


def test_statistics_of_one_even_grey_have_no_deviation():
    mean, std = statistics(np.full((3, 1, 4, 4), 51, np.uint8))

    assert mean == [0.2]
    assert std == [0.0]
