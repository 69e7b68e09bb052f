import pytest
import torch
from scipy import ndimage

from latentlab.data.augmentation import Augmentation, random_flip, random_shift


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(300, 3, 9, 9) + 0.1


def shift_with_scipy(image, down, right):
    return torch.from_numpy(ndimage.shift(image.numpy(), (0, down, right), order=0))


def test_a_flip_mirrors_half_of_the_images(images):
    flipped = random_flip(images)

    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    unchanged = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ unchanged).all()
    assert 0.4 < float(mirrored.float().mean()) < 0.6


@pytest.mark.parametrize("max_shift", [1, 2])
def test_shifts_take_every_distance_and_pad_with_zeros(images, max_shift):
    distances = [
        (down, right)
        for down in range(-max_shift, max_shift + 1)
        for right in range(-max_shift, max_shift + 1)
    ]
    drawn = set()
    for image, shifted in zip(images, random_shift(images, max_shift), strict=True):
        matches = [d for d in distances if torch.equal(shifted, shift_with_scipy(image, *d))]
        assert len(matches) == 1
        drawn |= set(matches)

    assert drawn == set(distances)


def test_shifted_images_are_in_channels_last_format(images):
    assert random_shift(images, 2).is_contiguous(memory_format=torch.channels_last)


def test_an_augmentation_flips_then_shifts(images):
    torch.manual_seed(1)
    augmented = Augmentation(flip=True, shift=2)(images)

    torch.manual_seed(1)
    assert torch.equal(augmented, random_shift(random_flip(images), 2))


def test_an_augmentation_changes_nothing_by_default(images):
    assert torch.equal(Augmentation()(images), images)
