import inspect

import pytest
import torch
from torchvision.transforms import v2

from latentlab.data.transforms import (
    PADDING_MODES,
    RandomCrop,
    RandomHorizontalFlip,
    RandomVerticalFlip,
)


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(300, 3, 9, 9) + 0.1


@pytest.mark.parametrize("transform", [RandomHorizontalFlip, RandomVerticalFlip, RandomCrop])
def test_names_and_arguments_are_those_of_torchvision(transform):
    ours = inspect.signature(transform).parameters.values()
    theirs = inspect.signature(getattr(v2, transform.__name__)).parameters.values()

    assert [(each.name, each.default) for each in ours] == [
        (each.name, each.default) for each in theirs
    ]


@pytest.mark.parametrize(
    ("transform", "function"),
    [
        (RandomHorizontalFlip, v2.functional.horizontal_flip),
        (RandomVerticalFlip, v2.functional.vertical_flip),
    ],
)
def test_a_flip_mirrors_each_image_with_the_given_probability(images, transform, function):
    for p in (0.0, 0.25, 0.5, 1.0):
        flipped = transform(p)(images)

        mirrored = (flipped == function(images)).flatten(1).all(1)
        unchanged = (flipped == images).flatten(1).all(1)
        assert (mirrored ^ unchanged).all()
        assert float(mirrored.float().mean()) == pytest.approx(p, abs=0.1 * (0 < p < 1))


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("padding", [1, [2, 1], [0, 1, 2, 3]])
def test_crops_are_those_of_torchvision_at_every_position(images, padding, mode):
    fill = 0.5 if mode == "constant" else 0
    padded = v2.Pad(padding, fill, mode)(images)
    positions = [
        (top, left) for top in range(padded.shape[2] - 8) for left in range(padded.shape[3] - 8)
    ]
    drawn = set()
    for image, cropped in zip(
        padded, RandomCrop(9, padding, fill=fill, padding_mode=mode)(images), strict=True
    ):
        crops = {place: v2.functional.crop(image, *place, 9, 9) for place in positions}
        matches = {place for place, crop in crops.items() if torch.equal(cropped, crop)}
        assert matches
        drawn |= matches

    assert drawn == set(positions)


def test_cropped_images_are_in_channels_last_format(images):
    cropped = RandomCrop(9, padding=2)(images)

    assert cropped.is_contiguous(memory_format=torch.channels_last)


def test_random_numbers_are_drawn_in_a_fixed_order(images):
    """Results of earlier versions depend on it: corners of all rows, then of all columns."""
    torch.manual_seed(1)
    cropped = RandomCrop(9, padding=1)(images)

    torch.manual_seed(1)
    corners = torch.randint(3, (2, len(images)))
    padded = v2.Pad(1)(images)
    for image, crop, (top, left) in zip(padded, cropped, corners.T.tolist(), strict=True):
        assert torch.equal(crop, image[:, top : top + 9, left : left + 9])


@pytest.mark.parametrize(
    ("transform", "arguments", "reason"),
    [
        (RandomHorizontalFlip, {"p": 1.5}, "p must be a probability"),
        (RandomVerticalFlip, {"p": True}, "p must be a probability"),
        (RandomCrop, {"size": 9, "padding": [1, 2, 3]}, "padding must be a number"),
        (RandomCrop, {"size": 9, "padding": -1}, "padding must be a number"),
        (RandomCrop, {"size": 9, "padding_mode": "mirror"}, "padding_mode must be one of"),
        (RandomCrop, {"size": 9, "fill": [1, 2, 3]}, "fill must be a number"),
    ],
)
def test_invalid_arguments_are_errors(transform, arguments, reason):
    with pytest.raises(ValueError, match=reason):
        transform(**arguments)
