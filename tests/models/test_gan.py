import pytest
import torch

from latentlab.models.gan import Discriminator, Generator


def test_generator_and_discriminator_support_every_image_shape():
    for shape in [(1, 28, 28), (3, 32, 32), (1, 64, 64), (3, 8, 8)]:
        generator, discriminator = Generator(shape, 16, 4), Discriminator(shape, 4)

        images = generator(torch.randn(3, 16))

        assert images.shape == (3, *shape)
        assert images.abs().max() <= 1
        assert discriminator(images).shape == (3,)


def test_samples_are_images_between_0_and_1():
    generator = Generator((1, 28, 28), 16, 4).eval()
    with torch.inference_mode():
        samples = generator.sample(10, torch.Generator().manual_seed(0))

    assert samples.shape == (10, 1, 28, 28)
    assert samples.min() >= 0
    assert samples.max() <= 1


def test_a_conditional_gan_depends_on_the_class():
    torch.manual_seed(0)
    generator = Generator((1, 8, 8), 6, 4, [0.5, 0.3, 0.2]).eval()
    discriminator = Discriminator((1, 8, 8), 4, "none", classes=3)
    labels = torch.tensor([0, 1, 2])
    inputs, classes = generator.draw(3, torch.Generator().manual_seed(0), labels)

    assert torch.equal(classes, labels)
    assert inputs[:, 6:].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    other, _ = generator.draw(3, torch.Generator().manual_seed(0), labels.flip(0))
    assert torch.equal(inputs[:, :6], other[:, :6])
    images, changed = generator(inputs), generator(other)
    assert torch.equal(images[1], changed[1])
    assert not torch.equal(images[0], changed[0])
    assert not torch.equal(discriminator(images, labels), discriminator(images, labels.flip(0)))
    assert torch.equal(discriminator(images), discriminator(images, torch.zeros(3).long()))


def test_classes_are_drawn_with_their_frequencies_if_no_labels_are_given():
    generator = Generator((1, 8, 8), 6, 4, [0.5, 0.25, 0.15, 0.1])
    _, labels = generator.draw(4000, torch.Generator().manual_seed(0))

    assert labels.bincount().tolist() == pytest.approx([2000, 1000, 600, 400], rel=0.1)


def test_spectral_normalization_gives_every_layer_a_spectral_norm_of_1():
    torch.manual_seed(0)
    discriminator = Discriminator((1, 8, 8), 4, "spectral")
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in discriminator.layers)
    for _ in range(30):  # one step of the power iteration per forward pass
        discriminator(torch.rand(4, 1, 8, 8))

    for layer in discriminator.layers:
        if hasattr(layer, "weight"):
            largest = torch.linalg.svdvals(layer.weight.flatten(1))[0]
            assert largest.item() == pytest.approx(1, abs=0.02)
