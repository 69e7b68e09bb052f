import pytest
import torch

from latentlab.evaluation.reconstruction import reconstruction_metrics


def test_mse_is_the_mean_over_pixels_and_psnr_follows_from_it():
    images = torch.full((3, 1, 4, 4), 0.5)

    metrics = reconstruction_metrics(images + 0.1, images)

    assert metrics["mse"] == pytest.approx(0.01)
    assert metrics["psnr"] == pytest.approx(20.0)


def test_mse_equals_the_one_of_torch():
    torch.manual_seed(0)
    outputs, images = torch.rand(7, 3, 8, 8), torch.rand(7, 3, 8, 8)

    expected = torch.nn.functional.mse_loss(outputs, images).item()

    assert reconstruction_metrics(outputs, images)["mse"] == pytest.approx(expected)
