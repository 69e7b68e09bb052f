import numpy as np
import pytest

from latentlab.data.duplicates import (
    equal_groups,
    report_duplicates,
    similar_groups,
    take_images,
)


def photographs(count, channels=1, seed=0):
    """Return smooth random uint8 images [count, channels, 16, 16]."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (count, channels, 4, 4))
    fine = coarse.repeat(4, 2).repeat(4, 3) + random.normal(0, 6, (count, channels, 16, 16))
    return fine.clip(0, 255).astype(np.uint8)


def similar(parts):
    return similar_groups(parts, equal_groups(parts)).tolist()


def test_equal_images_are_named_by_the_first_of_them_also_in_another_part():
    images = photographs(4)

    assert equal_groups([images[[0, 1, 0]], images[[2, 1]]]).tolist() == [0, 1, 0, 3, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_copies_with_little_noise_are_near_duplicates(channels):
    images = photographs(3000, channels)
    images[1500:1520] = images[:20]
    noise = np.random.default_rng(1).integers(-2, 3, images[1500:1520].shape)
    images[1500:1520] = (images[1500:1520] + noise).clip(0, 255)

    expected = list(range(3000))
    expected[1500:1520] = range(20)
    assert similar([images[:1000], images[1000:]]) == expected


def test_simple_images_that_differ_in_few_pixels_are_no_duplicates():
    images = np.zeros((4, 1, 28, 28), np.uint8)
    images[:, :, 4:24, 13:15] = 255  # strokes
    images[1, :, 4:6, 13] = 0
    images[2, :, 10, 15:20] = 255
    images[3] = 7  # without contrast, and not equal to the next one
    blank = np.full((1, 1, 28, 28), 8, np.uint8)

    assert similar([images, blank]) == [0, 1, 2, 3, 4]


def test_the_search_finds_the_pairs_that_a_comparison_of_all_pixels_finds():
    images = photographs(40)
    weights = np.linspace(0, 0.2, 5)[:, None, None, None, None]
    images = ((1 - weights) * images[:20] + weights * images[20:]).astype(np.uint8)
    images = images.reshape(100, 1, 16, 16)

    pixels = images.reshape(100, -1).astype(float)
    contrast = pixels.std(1)
    distances = np.sqrt(((pixels[:, None] - pixels[None]) ** 2).mean(2))
    close = distances <= 0.1 * np.minimum(contrast[:, None], contrast[None])
    reachable = np.linalg.matrix_power(close.astype(float), 100) > 0

    groups = similar([images])
    assert groups == reachable.argmax(1).tolist()
    assert 20 < len(set(groups)) < 100


def test_a_report_counts_duplicates_and_lists_those_with_different_labels():
    equal = np.array([0, 1, 0, 3, 4, 1])
    groups = np.array([0, 1, 0, 3, 3, 1])
    labels = np.array([0, 1, 0, 1, 0, 1])
    splits = {"train": np.array([0, 1, 3]), "test": np.array([2, 4])}

    report = report_duplicates(equal, groups, labels, splits)

    assert (report.equal, report.similar, report.across, report.left_out) == (2, 1, 2, 1)
    assert report.conflicts == [[3, 4]]


def test_a_dataset_without_duplicates_has_an_empty_report():
    rows = np.arange(3)

    report = report_duplicates(rows, rows, rows, {"train": rows})

    assert (report.equal, report.similar, report.across, report.left_out) == (0, 0, 0, 0)
    assert report.conflicts == []


def test_images_are_taken_by_their_number_through_all_parts():
    parts = [np.array([10, 11]), np.array([12, 13, 14])]

    assert take_images(parts, np.array([4, 0, 2])).tolist() == [14, 10, 12]
    assert take_images(parts, np.array([3, 2])).tolist() == [13, 12]
