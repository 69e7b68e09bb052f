import pytest
import torch
from torch.nn.functional import cross_entropy

from latentlab.architecture import Architecture
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier


@pytest.fixture
def donor():
    torch.manual_seed(0)
    return Autoencoder(Architecture((1, 28, 28), [8, 16, 32], 64, 8)).eval()


@pytest.mark.parametrize("head", [[], [16], [30, 60]])
def test_the_encoder_starts_as_the_donor_s(donor, head):
    classifier = Classifier.from_autoencoder(donor, head, 10, freeze_encoder=False).eval()
    images = torch.rand(4, 1, 28, 28)

    torch.testing.assert_close(classifier.encoder(images), donor.encode(images))
    assert classifier(images).shape == (4, 10)


def test_a_frozen_encoder_is_not_trained(donor):
    classifier = Classifier.from_autoencoder(donor, [16], 10, freeze_encoder=True)

    classifier.loss_terms(torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3]))["loss"].backward()

    assert all(p.grad is None for p in classifier.encoder.parameters())
    assert all(p.grad is not None for p in classifier.head.parameters())


def test_the_loss_is_cross_entropy_and_accuracy_counts_hits(donor):
    classifier = Classifier.from_autoencoder(donor, [], 10, freeze_encoder=False)
    images = torch.rand(6, 1, 28, 28)
    labels = classifier(images).argmax(1)
    labels[0] = (labels[0] + 1) % 10

    terms = classifier.loss_terms(images, labels)

    torch.testing.assert_close(terms["loss"], cross_entropy(classifier(images), labels))
    assert terms["accuracy"].item() == pytest.approx(5 / 6)
