import pytest
import torch
from scipy import ndimage

from latentlab.data.augmentation import flipped, shifted


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(300, 3, 9, 9) + 0.1


def test_half_of_the_images_are_mirrored(images):
    made = flipped(images)

    mirrored = (made == images.flip(3)).flatten(1).all(1)
    same = (made == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 0.4 < float(mirrored.float().mean()) < 0.6


@pytest.mark.parametrize("most", [1, 2])
def test_images_are_moved_by_all_distances_and_black_comes_in(images, most):
    found = set()
    for image, made in zip(images, shifted(images, most), strict=True):
        distances = [
            (down, right)
            for down in range(-most, most + 1)
            for right in range(-most, most + 1)
            if torch.equal(made, moved(image, down, right))
        ]
        assert len(distances) == 1
        found |= set(distances)

    assert len(found) == (2 * most + 1) ** 2


def moved(image, down, right):
    """One image moved, by SciPy."""
    return torch.from_numpy(ndimage.shift(image.numpy(), (0, down, right), order=0))


def test_images_stay_channels_last(images):
    assert shifted(images, 2).is_contiguous(memory_format=torch.channels_last)
