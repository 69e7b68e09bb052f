"""Training on any device agrees with training on the CPU in float32, up to bfloat16 rounding."""

import pytest
import torch

from crafting import needs_bfloat16, optimization_settings
from latentlab.data.image_set import ImageSet
from latentlab.models.autoencoder import Autoencoder
from latentlab.params.geometry import Architecture
from latentlab.training.loop import Training
from latentlab.training.optimization import OPTIMIZERS, Optimization

ACCELERATORS = [
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA is not available"),
    ),
    pytest.param(
        "mps",
        marks=pytest.mark.skipif(
            not torch.backends.mps.is_available(), reason="MPS is not available"
        ),
    ),
]
DEVICES = [*ACCELERATORS, "cpu"]


def waves(count, seed):
    """Smooth images, which a small network can learn."""
    random = torch.Generator().manual_seed(seed)
    phase = torch.rand(count, 2, 1, 1, 1, generator=random) * 6
    positions = torch.arange(8.0)
    vertical = torch.sin(phase[:, 0] + positions[:, None])
    horizontal = torch.sin(phase[:, 1] + positions[None, :])
    pixels = ((vertical + horizontal) * 60 + 127).to(torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2)


def curve_on(device, precision="auto"):
    """Train on a device and return the validation MSE of each epoch."""
    torch.manual_seed(0)
    network = Autoencoder(Architecture([1, 8, 8], [8, 16], 32, 4))
    settings = optimization_settings(
        epochs=12, learning_rate=0.01, batch_size=32, precision=precision
    )
    training = Training(network, settings, waves(512, 0), waves(64, 1), 0, torch.device(device))
    return [record["validation/mse"] for record in training.epochs()]


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_trains_like_the_cpu(device):
    curve = curve_on(device)

    assert curve[-1] < 0.5 * curve[0]
    assert curve == pytest.approx(curve_on("cpu"), rel=0.1)


def weights_after_steps(name, device):
    """Return the weights of a network after three steps of an optimizer."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 1)
    )
    settings = optimization_settings(optimizer=name, learning_rate=0.01, weight_decay=0.01)
    images = waves(16, 0).images.float() / 255
    network, images = network.to(device), images.to(device)
    optimization = Optimization(settings, network, 1)
    for _ in range(3):
        network(images).square().mean().backward()
        optimization.step()
    return torch.nn.utils.parameters_to_vector(network.parameters()).cpu()


@pytest.mark.parametrize("device", ACCELERATORS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_same_steps_as_on_the_cpu(name, device):
    torch.testing.assert_close(
        weights_after_steps(name, device), weights_after_steps(name, "cpu"), rtol=1e-2, atol=1e-3
    )


@needs_bfloat16
def test_a_cpu_trains_in_bfloat16_like_in_float32():
    curve, reference = curve_on("cpu", "bfloat16"), curve_on("cpu", "float32")

    assert curve != reference
    assert curve == pytest.approx(reference, rel=0.1)
    assert curve_on("cpu") == reference
