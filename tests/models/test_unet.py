import pytest
import torch

from latentlab.models.unet import UNet


@pytest.mark.parametrize(
    ("depth", "size", "channels"), [(1, 28, [4, 6]), (1, 32, [4]), (3, 64, [4, 6])]
)
def test_the_output_has_the_shape_of_the_input(size, depth, channels):
    images = torch.rand(2, depth, size, size)

    assert UNet([depth, size, size], channels, "silu")(images).shape == images.shape


def test_each_scale_halves_the_image_size():
    network = UNet([1, 32, 32], [2, 4, 6, 8], "relu")
    sizes = []
    for down in network.down:
        down.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[1:]))
    network(torch.rand(1, 1, 32, 32))

    assert sizes == [(4, 8, 8), (6, 4, 4), (8, 2, 2)]


def test_the_output_is_between_0_and_1_for_any_input():
    denoised = UNet([1, 28, 28], [4, 8], "silu")(100 * torch.randn(4, 1, 28, 28))

    assert float(denoised.detach().min()) >= 0
    assert float(denoised.detach().max()) <= 1


def test_the_output_of_an_untrained_network_has_the_given_brightness():
    torch.manual_seed(0)
    network = UNet([3, 16, 16], [4, 8], "silu", brightness=[0.1, 0.5, 0.8])

    brightness = network(torch.rand(16, 3, 16, 16)).detach().mean((0, 2, 3))

    assert brightness.tolist() == pytest.approx([0.1, 0.5, 0.8], abs=0.05)


def test_skip_connections_bypass_the_coarser_scales():
    """A changed pixel changes the output nearby although the coarser scales contribute nothing."""
    network = UNet([1, 28, 28], [4, 8], "silu").eval()
    torch.nn.init.zeros_(network.up[0][0].weight)
    torch.nn.init.zeros_(network.up[0][0].bias)
    first = torch.rand(1, 1, 28, 28)
    second = first.clone()
    second[0, 0, 14, 14] += 0.5

    changed = (network(second) - network(first)).abs() > 0
    assert changed.any()
    assert not changed[0, 0, :4].any()


def test_every_parameter_gets_a_gradient():
    network = UNet([3, 28, 28], [4, 8], "silu")
    network(torch.rand(2, 3, 28, 28)).square().mean().backward()

    assert all(float(p.grad.abs().sum()) > 0 for p in network.parameters())


def test_it_can_be_rebuilt_from_its_config():
    network = UNet([1, 32, 32], [4, 8, 8], "gelu")
    rebuilt = UNet.from_config(network.config)
    rebuilt.load_state_dict(network.state_dict())

    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(rebuilt(images), network(images))
