import pytest
import torch

from latentlab.models.gan import Discriminator, Generator


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 64, 64), (3, 8, 8)])
def test_the_players_agree_on_the_shape_of_an_image(shape):
    generator, discriminator = Generator(shape, 16, 4), Discriminator(shape, 4)

    images = generator(torch.randn(3, 16))

    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (3,)


def test_samples_lie_between_black_and_white():
    generator = Generator((1, 28, 28), 16, 4).eval()
    with torch.inference_mode():
        samples = generator.sample(10, torch.Generator().manual_seed(0))

    assert samples.shape == (10, 1, 28, 28)
    assert samples.min() >= 0
    assert samples.max() <= 1
