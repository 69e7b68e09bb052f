"""What a graphics card trains is what the CPU trains, within the precision of bfloat16."""

import pytest
import torch

from crafting import optimization_settings
from latentlab.data.image_set import ImageSet
from latentlab.models.autoencoder import Autoencoder
from latentlab.networks.architecture import Architecture
from latentlab.training.loop import Training

DEVICES = [
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here"),
    ),
    pytest.param(
        "mps",
        marks=pytest.mark.skipif(
            not torch.backends.mps.is_available(), reason="there is no MPS here"
        ),
    ),
    "cpu",
]


def waves(count, seed):
    """Smooth images, which a network of few numbers can learn."""
    random = torch.Generator().manual_seed(seed)
    phase = torch.rand(count, 2, 1, 1, 1, generator=random) * 6
    places = torch.arange(8.0)
    down = torch.sin(phase[:, 0] + places[:, None])
    right = torch.sin(phase[:, 1] + places[None, :])
    pixels = ((down + right) * 60 + 127).to(torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_trains_as_the_cpu_does(device):
    found = {}
    for name in ("cpu", device):
        torch.manual_seed(0)
        network = Autoencoder(Architecture([1, 8, 8], [8, 16], 32, 4))
        settings = optimization_settings(epochs=12, learning_rate=0.01, batch_size=32)
        train, validation = waves(512, 0), waves(64, 1)
        training = Training(network, settings, train, validation, 0, torch.device(name))
        found[name] = [record["validation/mse"] for record in training.epochs()]

    assert found[device][-1] < 0.5 * found[device][0]
    assert found[device] == pytest.approx(found["cpu"], rel=0.1)
