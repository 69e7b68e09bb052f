import pytest
import torch

from latentlab.models.unet import UNet


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("channels", [[4], [4, 6]])
def test_what_comes_out_has_the_size_of_what_went_in(size, depth, channels):
    images = torch.rand(2, depth, size, size)

    assert UNet([depth, size, size], channels, "silu")(images).shape == images.shape


def test_more_scales_halve_the_image_more_often():
    network = UNet([1, 32, 32], [2, 4, 6, 8], "relu")
    sizes = []
    for down in network.down:
        down.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[1:]))
    network(torch.rand(1, 1, 32, 32))

    assert sizes == [(4, 8, 8), (6, 4, 4), (8, 2, 2)]


def test_what_comes_out_is_an_image_whatever_goes_in():
    restored = UNet([1, 28, 28], [4, 8], "silu")(100 * torch.randn(4, 1, 28, 28))

    assert float(restored.detach().min()) >= 0
    assert float(restored.detach().max()) <= 1


def test_an_untrained_network_is_as_bright_as_the_images():
    torch.manual_seed(0)
    network = UNet([3, 16, 16], [4, 8], "silu", brightness=[0.1, 0.5, 0.8])

    drawn = network(torch.rand(16, 3, 16, 16)).detach().mean((0, 2, 3))

    assert drawn.tolist() == pytest.approx([0.1, 0.5, 0.8], abs=0.05)


def test_the_finest_scale_skips_the_coarser_ones():
    """A change of one pixel is seen next to it though nothing comes from below."""
    network = UNet([1, 28, 28], [4, 8], "silu").eval()
    torch.nn.init.zeros_(network.up[0][0].weight)
    torch.nn.init.zeros_(network.up[0][0].bias)
    first = torch.rand(1, 1, 28, 28)
    second = first.clone()
    second[0, 0, 14, 14] += 0.5

    changed = (network(second) - network(first)).abs() > 0
    assert changed.any()
    assert not changed[0, 0, :4].any()


def test_every_weight_has_a_part_in_the_loss():
    network = UNet([3, 28, 28], [4, 8], "silu")
    network(torch.rand(2, 3, 28, 28)).square().mean().backward()

    assert all(float(p.grad.abs().sum()) > 0 for p in network.parameters())


def test_it_is_built_again_of_its_configuration():
    network = UNet([1, 32, 32], [4, 8, 8], "gelu")
    again = UNet.from_config(network.config)
    again.load_state_dict(network.state_dict())

    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(again(images), network(images))
