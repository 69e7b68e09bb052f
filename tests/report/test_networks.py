"""Networks that run in the browser have the outputs of PyTorch."""

import pytest
import torch
from torch import nn

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.gan import Generator
from latentlab.models.layers import ACTIVATIONS
from latentlab.models.unet import UNet
from latentlab.models.vae import Vae
from latentlab.params.geometry import Architecture
from latentlab.report.explorer.networks import export_network
from latentlab.report.explorer.page import ASSETS

RUN = """([network, values, shape]) =>
    Array.from(runNetwork(prepareNetwork(network), Float32Array.from(values), shape))"""


@pytest.fixture(scope="module")
def run_in_browser(browser):
    page = browser.new_page()
    for name in ("weights.js", "network.js"):
        page.add_script_tag(path=ASSETS / name)

    def run(modules, inputs):
        network = export_network(*modules)
        outputs = [
            page.evaluate(RUN, [network, each.flatten().tolist(), list(each.shape)])
            for each in inputs
        ]
        return torch.tensor(outputs)

    yield run
    page.close()


@torch.no_grad()
def assert_equal_outputs(run_in_browser, modules, inputs):
    modules = [module.eval() for module in modules]
    expected = nn.Sequential(*modules)(inputs).flatten(1)

    assert torch.allclose(run_in_browser(modules, inputs), expected, atol=1e-3)


def with_random_norms(model):
    """Give batch norms statistics and weights of a trained network."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.2)
    return model


ARCHITECTURES = {
    **{activation: {"activation": activation} for activation in ACTIVATIONS},
    "transposed convolution": {"upsampling": "transposed", "kernel": 4},
    "odd sizes": {"image_shape": [1, 20, 20], "channels": [4, 6, 8], "padding": 1},
    "batch norm": {"batch_norm": True},
    "batch norm and transposed convolution": {"batch_norm": True, "upsampling": "transposed"},
    "dropout": {"dropout": 0.3},
    "stride 1 and 3": {"stride": [1, 3], "kernel": [5, 3]},
    "no hidden layer": {"hidden": []},
    "two hidden layers": {"hidden": [12, 10]},
    "standardized, linear output": {
        "mean": [0.3, 0.4, 0.5], "std": [0.2, 0.3, 0.4], "output": "linear",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_autoencoders_have_the_outputs_of_pytorch(run_in_browser, name):
    torch.manual_seed(0)
    base = {"image_shape": [3, 12, 12], "channels": [4, 8], "hidden": 16, "latent_dim": 5}
    architecture = Architecture(**base | ARCHITECTURES[name])
    autoencoder = with_random_norms(Autoencoder(architecture))

    images = torch.rand(2, *architecture.image_shape)
    encoder = [autoencoder.encoder, autoencoder.to_code]
    assert_equal_outputs(run_in_browser, encoder, images)
    assert_equal_outputs(run_in_browser, [autoencoder.decoder], torch.randn(3, 5))


def test_a_vae_a_generator_a_classifier_and_a_unet_have_the_outputs_of_pytorch(run_in_browser):
    torch.manual_seed(0)
    architecture = Architecture([1, 12, 12], [4, 8], 16, 5)
    images = torch.rand(2, 1, 12, 12)
    vae = Vae(architecture, "gaussian")
    classifier = Classifier(architecture, [7], 3, freeze_encoder=False)
    generator = with_random_norms(Generator([1, 12, 12], 6, 4, [0.5, 0.5]))
    unet = UNet([1, 16, 16], [4, 6, 8], "silu", [0.3])

    assert_equal_outputs(run_in_browser, [vae.encoder, vae.to_mean], images)
    head = [classifier.encoder, classifier.head, classifier.to_logits]
    assert_equal_outputs(run_in_browser, head, images)
    assert_equal_outputs(run_in_browser, [generator.layers], torch.randn(2, 8))
    assert_equal_outputs(run_in_browser, [unet], torch.rand(2, 1, 16, 16))


def test_weights_beyond_the_range_of_float16_are_scaled(run_in_browser):
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[2e5, 0.0], [0.0, 1e5]])

    assert_equal_outputs(run_in_browser, [layer], torch.tensor([[1e-6, 2e-6]]))


def test_an_unknown_layer_is_an_error():
    with pytest.raises(TypeError, match="cannot run a layer of type Softplus"):
        export_network(nn.Softplus())
