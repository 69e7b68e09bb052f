import pytest
import torch

from latentlab.data.image_set import ImageSet
from latentlab.data.rotations import ROTATIONS, RotatedImages


@pytest.fixture
def images():
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, 3, 4, 4), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(5, dtype=torch.int64))


def test_every_image_is_read_in_all_orientations_with_the_angle_as_its_label(images):
    rotated = RotatedImages.of(images)

    assert len(rotated) == 20
    for index, (image, label) in enumerate(zip(rotated.floats(), rotated.labels, strict=True)):
        assert int(label) == index % len(ROTATIONS)
        expected = images.floats()[index // len(ROTATIONS)].rot90(int(label), (1, 2))
        torch.testing.assert_close(image, expected)


def test_the_pixels_are_not_copied_or_changed(images):
    before = images.images.clone()

    rotated = RotatedImages.of(images)
    rotated.floats()

    assert rotated.images.data_ptr() == images.images.data_ptr()
    assert torch.equal(images.images, before)


def test_a_part_of_the_set_keeps_the_angles_and_a_part_can_be_rotated(images):
    rotated = RotatedImages.of(images)
    indices = torch.tensor([18, 3, 7])

    torch.testing.assert_close(rotated.take(indices).floats(), rotated.floats(indices))
    of_part = RotatedImages.of(images.take(torch.tensor([4, 2])))
    torch.testing.assert_close(of_part.floats(slice(4)), rotated.floats(slice(16, 20)))
    torch.testing.assert_close(of_part.floats(slice(4, 8)), rotated.floats(slice(8, 12)))


def test_batches_have_images_and_angles(images):
    rotated = RotatedImages.of(images)
    batches = list(rotated.batches(8, order=torch.arange(19, -1, -1)))

    torch.testing.assert_close(torch.cat([batch for batch, _ in batches]), rotated.floats().flip(0))
    assert torch.equal(torch.cat([labels for _, labels in batches]), rotated.labels.flip(0))
