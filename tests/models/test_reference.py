import pytest
import torch
from torch.nn.functional import cross_entropy

from latentlab.models.reference import ReferenceClassifier


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((1, 8, 8), [4]), ((1, 8, 8), [4, 6, 8, 10]), ((1, 28, 28), [4, 6]), ((3, 36, 36), [4, 6, 8])],
)
def test_it_maps_images_of_any_shape_to_features_and_logits(shape, channels):
    network = ReferenceClassifier(shape, channels, 9, 7).eval()
    images = torch.rand(3, *shape)

    features = network.features(images)

    assert features.shape == (3, 9)
    torch.testing.assert_close(network(images), network.to_logits(features))
    assert network(images).shape == (3, 7)


def test_the_loss_is_cross_entropy_and_the_prediction_the_largest_logit():
    torch.manual_seed(0)
    network = ReferenceClassifier((1, 8, 8), [4, 6], 5, 3).eval()
    images, labels = torch.rand(20, 1, 8, 8), torch.arange(20) % 3

    terms = network.loss_terms(images, labels)

    logits = network(images)
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, labels))
    assert terms["accuracy"] == (logits.argmax(1) == labels).float().mean()


def test_dropout_is_active_in_training_mode_only():
    network = ReferenceClassifier((1, 8, 8), [4, 6], 5, 3, dropout=0.5).train()
    images = torch.rand(50, 1, 8, 8)

    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_mirrored_features_are_averaged_in_evaluation_mode_only():
    network = ReferenceClassifier((1, 8, 8), [4, 6], 5, 3, mirrored=True).eval()
    images = torch.rand(6, 1, 8, 8)
    plain = ReferenceClassifier((1, 8, 8), [4, 6], 5, 3).eval()
    plain.load_state_dict(network.state_dict())

    average = (plain(images) + plain(images.flip(3))) / 2
    torch.testing.assert_close(network(images), average)
    torch.testing.assert_close(network(images), network.to_logits(network.features(images)))
    torch.testing.assert_close(network.train()(images), plain.train()(images))
