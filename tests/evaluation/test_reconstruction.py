import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models import inference


class Shift(nn.Module):
    """Returns its images, brighter by `amount`."""

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, images):
        return images + self.amount


class Darken(nn.Module):
    """Returns its images times one half."""

    def forward(self, images):
        return images / 2


def image_set(count=7):
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64))


def test_a_constant_error_has_its_square_as_mse_and_a_psnr_that_follows():
    metrics = reconstruction_metrics(Shift(0.1), image_set())

    assert metrics["mse"] == pytest.approx(0.01)
    assert metrics["psnr"] == pytest.approx(20.0)


def test_mse_is_that_of_torch_and_psnr_the_mean_over_images_of_its_formula():
    torch.manual_seed(0)
    images = image_set()
    errors = torch.stack([mse_loss(image / 2, image) for image in images.floats()])

    metrics = reconstruction_metrics(Darken(), images)

    assert metrics["mse"] == pytest.approx(mse_loss(images.floats() / 2, images.floats()).item())
    assert metrics["psnr"] == pytest.approx((-10 * errors.log10()).mean().item())


def test_the_size_of_the_batches_changes_nothing(monkeypatch):
    images = image_set()
    whole = reconstruction_metrics(Darken(), images)
    monkeypatch.setattr(inference, "MOST_IMAGES", 3)

    assert reconstruction_metrics(Darken(), images) == pytest.approx(whole)


def test_a_perfect_model_has_a_finite_psnr():
    assert reconstruction_metrics(nn.Identity(), image_set()) == {"mse": 0.0, "psnr": 100.0}
