"""Vectorized transforms, compared with those of torchvision for equal parameters."""

import pytest
import torch
from torchvision.transforms import v2

from latentlab.data.torchvision_transforms import PerImage, RandomAffine, RandomErasing


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(200, 3, 12, 12)


AFFINE = {
    "rotation": {"degrees": 30},
    "translation": {"degrees": 0, "translate": [0.2, 0.1]},
    "scale": {"degrees": [-5, 20], "scale": [0.5, 1.5]},
    "shear": {"degrees": 0, "shear": 20},
    "shear in both directions": {"degrees": 10, "shear": [-10, 5, 3, 20]},
    "center": {"degrees": 90, "center": [2, 3], "translate": [0.1, 0.1]},
    "fill": {"degrees": 45, "fill": 0.5},
    "fill by channel": {"degrees": 45, "fill": [0.1, 0.5, 0.9]},
    "no fill": {"degrees": 45, "fill": None},
}


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("case", AFFINE)
def test_affine_transforms_equal_those_of_torchvision(images, case, interpolation):
    transform = RandomAffine(**AFFINE[case], interpolation=interpolation)
    parameters = transform.draw(images)
    expected = [
        v2.functional.affine(
            image,
            angle.item(),
            translation.tolist(),
            scale.item(),
            shear.tolist(),
            interpolation=interpolation,
            fill=transform.fill,
            center=transform.center,
        )
        for image, angle, translation, scale, shear in zip(images, *parameters, strict=True)
    ]

    close = torch.isclose(transform.apply(images, *parameters), torch.stack(expected), atol=1e-4)
    # the nearest pixel of a point between two pixels depends on rounding
    assert float(close.float().mean()) > (0.999 if interpolation == "nearest" else 0.99999)


def test_affine_parameters_have_the_distribution_of_torchvision(images):
    arguments = {"degrees": 30, "translate": [0.3, 0.1], "scale": [0.5, 1.5], "shear": 20}
    theirs = [v2.RandomAffine(**arguments).make_params([images]) for _ in range(2000)]
    expected = {key: torch.tensor([each[key] for each in theirs]).float() for key in theirs[0]}

    drawn = RandomAffine(**arguments).draw(torch.zeros(2000, 1, 12, 12))

    for ours, other in zip(drawn, expected.values(), strict=True):
        assert ours.min(0).values.tolist() == pytest.approx(other.min(0).values.tolist(), abs=1)
        assert ours.max(0).values.tolist() == pytest.approx(other.max(0).values.tolist(), abs=1)
        assert ours.std(0).tolist() == pytest.approx(other.std(0).tolist(), rel=0.1)


@pytest.mark.parametrize("value", [0.0, 0.5, [0.1, 0.5, 0.9]])
def test_erased_rectangles_equal_those_of_torchvision(images, value):
    transform = RandomErasing(p=0.7, value=value)
    parameters = transform.draw(images)
    filling = torch.tensor(transform.value)[:, None, None]
    expected = [
        v2.functional.erase(image, *place, filling)
        for image, place in zip(images, torch.stack(parameters, 1).int().tolist(), strict=True)
    ]

    assert torch.equal(transform.apply(images, *parameters), torch.stack(expected))


def test_rectangles_have_the_distribution_of_torchvision(images):
    transform = v2.RandomErasing(scale=(0.1, 0.5), ratio=(0.5, 3.0))
    theirs = [transform.make_params([images[0]]) for _ in range(2000)]

    ours = RandomErasing(p=1.0, scale=(0.1, 0.5), ratio=(0.5, 3.0)).draw(
        torch.zeros(2000, 1, 12, 12)
    )

    for name, drawn in zip("ijhw", ours, strict=True):
        expected = torch.tensor([each[name] for each in theirs]).float()
        assert float(drawn.mean()) == pytest.approx(float(expected.mean()), abs=0.3)
        assert float(drawn.std()) == pytest.approx(float(expected.std()), abs=0.2)
        assert (drawn.min(), drawn.max()) == (expected.min(), expected.max())


def test_an_image_is_erased_with_probability_p_and_only_if_a_rectangle_fits(images):
    changed = (RandomErasing(p=0.3)(images) != images).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.1)

    assert torch.equal(RandomErasing(p=1.0, scale=(1.0, 1.0), ratio=(1, 1))(images), images)


def test_a_rectangle_can_be_filled_with_noise(images):
    erased = RandomErasing(p=1.0, value="random")(images)

    noise = erased[erased != images]
    assert float(noise.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("transform", [RandomAffine(degrees=20), RandomErasing(p=1.0)])
def test_vectorized_transforms_are_differentiable(transform, images):
    images.requires_grad_()
    transform(images).sum().backward()

    assert bool(images.grad.any())


def test_other_transforms_draw_anew_for_each_image_as_torchvision_does(images):
    transform = v2.ColorJitter(brightness=0.5)
    torch.manual_seed(1)
    outputs = PerImage(transform)(images)

    torch.manual_seed(1)
    assert torch.equal(outputs, torch.stack([transform(image) for image in images]))
    assert outputs.is_contiguous(memory_format=torch.channels_last)
