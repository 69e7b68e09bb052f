import subprocess
import sys

import pytest
import torch
from torchvision.transforms import v2

from latentlab.data.augmentation import (
    NAMES,
    REJECTED,
    Augmentation,
    build_transform,
    check_on_images,
    describe,
    mirrors,
)

CPU = torch.device("cpu")
FLIP = {"RandomHorizontalFlip": {}}
NEEDED = {
    "ColorJitter": {"brightness": 0.2},
    "ElasticTransform": {"sigma": 1.0},
    "GaussianBlur": {"kernel_size": 3},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomAffine": {"degrees": 10},
    "RandomPosterize": {"bits": 4},
    "RandomRotation": {"degrees": 10},
    "RandomSolarize": {"threshold": 0.5},
}
"""Arguments of the transforms that need some."""


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(30, 1, 9, 9).contiguous(memory_format=torch.channels_last)


def test_transforms_are_applied_in_the_order_of_the_list(images):
    shift = {"RandomCrop": {"padding": 2}}
    torch.manual_seed(1)
    augmented = Augmentation([FLIP, shift], 9)(images)

    torch.manual_seed(1)
    flipped = build_transform(FLIP, 9)(images)
    assert torch.equal(augmented, build_transform(shift, 9)(flipped))


def test_an_empty_list_changes_nothing_and_draws_nothing(images):
    state = torch.get_rng_state()

    assert Augmentation([], 9)(images) is images
    assert not Augmentation([], 9)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_every_allowed_transform_keeps_shape_type_and_range(name):
    for channels in (1, 3):
        check_on_images({name: NEEDED.get(name, {})}, [channels, 12, 12], CPU, False)


def test_every_transform_of_torchvision_is_allowed_or_rejected_with_a_reason():
    public = {
        name
        for name, each in vars(v2).items()
        if isinstance(each, type) and issubclass(each, torch.nn.Module) and name != "Transform"
    }

    # these are functions or enumerations elsewhere
    assert public - {*NAMES} == public & {*REJECTED}
    assert {*NAMES} <= public
    assert not {*NAMES} & {*REJECTED}


def test_the_size_is_that_of_the_image_unless_it_is_given(images):
    assert Augmentation([{"RandomCrop": {"padding": 1}}], 9)(images).shape == images.shape
    assert Augmentation([{"RandomResizedCrop": {}}], 9)(images).shape == images.shape


def test_warnings_of_torchvision_are_errors():
    with pytest.raises(UserWarning, match="min, max"):
        build_transform({"RandomErasing": {"ratio": [3.0, 0.3]}}, 9)


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        ({"RandomCrop": {"size": 8}}, r"changes images of shape \[1, 9, 9\] to \[1, 8, 8\]"),
        ({"RandomCrop": {"size": 20}}, "fails for images of shape"),
        ({"RandomErasing": {"value": "random"}}, "outside of"),
        ({"RandomErasing": {"value": [0.1, 0.2]}}, "changes images of shape"),
    ],
)
def test_a_transform_that_does_not_suit_the_images_is_an_error(transform, reason):
    with pytest.raises(ValueError, match=reason):
        check_on_images(transform, [1, 9, 9], CPU, differentiable=False)


def test_the_check_does_not_change_random_numbers():
    torch.manual_seed(3)
    check_on_images(FLIP, [1, 9, 9], CPU, differentiable=False)

    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))


def test_the_derivative_is_checked_where_it_is_needed():
    for transform in (
        FLIP,
        {"RandomVerticalFlip": {}},
        {"RandomCrop": {"padding": 1, "padding_mode": "reflect"}},
        {"RandomAffine": {"degrees": 10}},
        {"RandomErasing": {}},
        {"ColorJitter": {"brightness": 0.2}},
    ):
        check_on_images(transform, [1, 9, 9], CPU, differentiable=True)
    with pytest.raises(ValueError, match="derivative"):
        check_on_images({"RandomPosterize": {"bits": 2, "p": 1.0}}, [1, 9, 9], CPU, True)


def test_a_list_is_described_as_text():
    assert describe([]) == "none"
    assert describe([FLIP, {"RandomErasing": {"p": 0.2, "scale": [0.1, 0.2]}}]) == (
        "RandomHorizontalFlip(), RandomErasing(p=0.2, scale=[0.1, 0.2])"
    )


def test_images_are_mirrored_by_horizontal_flips_only():
    assert mirrors([{"RandomCrop": {}}, FLIP])
    assert not mirrors([{"RandomVerticalFlip": {}}])


def test_flips_and_crops_do_not_import_torchvision():
    """It would add seconds to the start of each stage."""
    code = (
        "import sys, torch\n"
        "from latentlab.data.augmentation import Augmentation\n"
        "transforms = [{'RandomHorizontalFlip': {}}, {'RandomCrop': {'padding': 1}}]\n"
        "Augmentation(transforms, 8)(torch.rand(4, 1, 8, 8))\n"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
