import pytest
import torch
from torch.nn.functional import cross_entropy

from latentlab.models.reference import ReferenceClassifier


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 36, 36)])
@pytest.mark.parametrize("channels", [[4], [4, 6], [4, 6, 8, 10]])
def test_any_image_becomes_features_and_logits(shape, channels):
    network = ReferenceClassifier(shape, channels, 9, 7).eval()
    images = torch.rand(3, *shape)

    features = network.features(images)

    assert features.shape == (3, 9)
    torch.testing.assert_close(network(images), network.to_logits(features))
    assert network(images).shape == (3, 7)


def test_the_loss_is_the_cross_entropy_and_the_accuracy_that_of_the_largest_logit():
    torch.manual_seed(0)
    network = ReferenceClassifier((1, 8, 8), [4, 6], 5, 3).eval()
    images, labels = torch.rand(20, 1, 8, 8), torch.arange(20) % 3

    terms = network.loss_terms(images, labels)

    logits = network(images)
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, labels))
    assert terms["accuracy"] == (logits.argmax(1) == labels).float().mean()


def test_dropout_is_of_training_alone():
    network = ReferenceClassifier((1, 8, 8), [4, 6], 5, 3, dropout=0.5).train()
    images = torch.rand(50, 1, 8, 8)

    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_mirrored_it_sees_both_sides_of_an_image_but_not_in_training():
    network = ReferenceClassifier((1, 8, 8), [4, 6], 5, 3, mirrored=True).eval()
    images = torch.rand(6, 1, 8, 8)
    plain = ReferenceClassifier((1, 8, 8), [4, 6], 5, 3).eval()
    plain.load_state_dict(network.state_dict())

    both = (plain(images) + plain(images.flip(3))) / 2
    torch.testing.assert_close(network(images), both)
    torch.testing.assert_close(network(images), network.to_logits(network.features(images)))
    torch.testing.assert_close(network.train()(images), plain.train()(images))
