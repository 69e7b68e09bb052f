import pytest
import torch
from torch.nn.functional import cross_entropy

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier, ClassifierTrainingOptions, classifier_on
from latentlab.models.io import save_model
from latentlab.params.classification import FinetuneParams
from latentlab.params.geometry import Architecture


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


def images_and_labels(count=64):
    random = torch.Generator().manual_seed(3)
    return torch.rand(count, 1, 28, 28, generator=random), torch.arange(count) % 10


def test_a_frozen_encoder_learns_after_the_epoch_it_was_to_be_frozen_for(donor):
    classifier = Classifier.from_autoencoder(
        donor, [], 10, True, ClassifierTrainingOptions(unfreeze_after=2)
    )
    learns = []
    for epoch in (1, 2, 3):
        classifier.start_epoch(epoch)
        classifier.train()
        classifier.zero_grad()
        classifier.loss_terms(*images_and_labels())["loss"].backward()
        learns.append(all(p.grad is not None for p in classifier.encoder.parameters()))
        assert classifier.encoder.training == learns[-1]

    assert learns == [False, False, True]


def test_taken_up_in_a_later_epoch_the_encoder_is_not_frozen_any_more(donor):
    classifier = Classifier.from_autoencoder(
        donor, [], 10, True, ClassifierTrainingOptions(unfreeze_after=2)
    )
    classifier.start_epoch(5)

    assert all(p.requires_grad for p in classifier.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_smoothed_labels_are_those_of_torch(donor, training):
    """Held-out images are judged by what is minimised."""
    smoothed = ClassifierTrainingOptions(label_smoothing=0.2)
    classifier = Classifier.from_autoencoder(donor, [], 10, False, smoothed).train(training)
    images, labels = images_and_labels()

    loss = classifier.loss_terms(images, labels)["loss"]

    expected = cross_entropy(classifier(images), labels, label_smoothing=0.2)
    torch.testing.assert_close(loss, expected)


def test_images_are_augmented_in_training_alone(donor):
    classifier = Classifier.from_autoencoder(
        donor, [], 10, False, ClassifierTrainingOptions(flip=True, shift=3)
    )
    images, labels = images_and_labels()

    def loss():
        return classifier.loss_terms(images, labels)["loss"].item()

    classifier.train()
    assert loss() != loss()
    classifier.eval()
    assert loss() == loss()


SETTINGS = {
    "head": [4],
    "freeze_encoder": True,
    "flip": True,
    "epochs": 1,
    "patience": None,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 0.001,
    "weight_decay": 0.0,
    "schedule": "one_cycle",
}


def test_settings_say_what_becomes_of_a_stored_encoder(donor, tmp_path):
    save_model(donor, tmp_path)
    settings = FinetuneParams.model_validate(SETTINGS)
    images = torch.rand(4, 1, 28, 28)

    classifier = classifier_on(tmp_path, settings, 7).eval()
    assert classifier.config["freeze_encoder"]
    assert classifier.mirrored
    torch.testing.assert_close(classifier.encoder(images), donor.encode(images))
    torch.testing.assert_close(classifier(images), classifier(images.flip(3)))
    assert classifier(images).shape == (4, 7)

    fresh = classifier_on(tmp_path, settings, 7, fresh=True).eval()
    assert not torch.equal(fresh.encoder(images), donor.encode(images))
