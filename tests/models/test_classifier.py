import pytest
import torch
from torch.nn.functional import cross_entropy

from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier, ClassifierTrainingOptions, build_classifier
from latentlab.models.io import save_model
from latentlab.params.classification import FinetuneParams
from latentlab.params.geometry import Architecture


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return Autoencoder(Architecture((1, 28, 28), [8, 16, 32], 64, 8)).eval()


def test_the_encoder_starts_from_the_weights_of_the_autoencoder(autoencoder):
    images = torch.rand(4, 1, 28, 28)
    for head in ([], [16], [30, 60]):
        classifier = Classifier.from_autoencoder(autoencoder, head, 10, freeze_encoder=False).eval()

        torch.testing.assert_close(classifier.encoder(images), autoencoder.encode(images))
        assert classifier(images).shape == (4, 10)


def test_a_frozen_encoder_is_not_trained(autoencoder):
    classifier = Classifier.from_autoencoder(autoencoder, [16], 10, freeze_encoder=True)

    classifier.loss_terms(torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3]))["loss"].backward()

    assert all(p.grad is None for p in classifier.encoder.parameters())
    assert all(p.grad is not None for p in classifier.head.parameters())


def test_the_terms_are_cross_entropy_and_the_share_of_correct_predictions(autoencoder):
    classifier = Classifier.from_autoencoder(autoencoder, [], 10, freeze_encoder=False)
    images = torch.rand(6, 1, 28, 28)
    labels = classifier(images).argmax(1)
    labels[0] = (labels[0] + 1) % 10

    terms = classifier.loss_terms(images, labels)

    torch.testing.assert_close(terms["loss"], cross_entropy(classifier(images), labels))
    assert terms["accuracy"].item() == pytest.approx(5 / 6)


def images_and_labels(count=64):
    random = torch.Generator().manual_seed(3)
    return torch.rand(count, 1, 28, 28, generator=random), torch.arange(count) % 10


def test_a_frozen_encoder_is_trained_after_unfreeze_after_epochs(autoencoder):
    classifier = Classifier.from_autoencoder(
        autoencoder, [], 10, True, ClassifierTrainingOptions(unfreeze_after=2)
    )
    trained = []
    for epoch in (1, 2, 3):
        classifier.start_epoch(epoch)
        classifier.train()
        classifier.zero_grad()
        classifier.loss_terms(*images_and_labels())["loss"].backward()
        trained.append(all(p.grad is not None for p in classifier.encoder.parameters()))
        assert classifier.encoder.training == trained[-1]

    assert trained == [False, False, True]


def test_a_training_resumed_in_a_later_epoch_does_not_freeze_the_encoder(autoencoder):
    classifier = Classifier.from_autoencoder(
        autoencoder, [], 10, True, ClassifierTrainingOptions(unfreeze_after=2)
    )
    classifier.start_epoch(5)

    assert all(p.requires_grad for p in classifier.parameters())


def test_label_smoothing_is_that_of_torch_in_training_and_in_validation(autoencoder):
    options = ClassifierTrainingOptions(label_smoothing=0.2)
    classifier = Classifier.from_autoencoder(autoencoder, [], 10, False, options)
    images, labels = images_and_labels()

    for training in (True, False):
        loss = classifier.train(training).loss_terms(images, labels)["loss"]

        expected = cross_entropy(classifier(images), labels, label_smoothing=0.2)
        torch.testing.assert_close(loss, expected)


SETTINGS = {
    "head": [4],
    "freeze_encoder": True,
    "augmentation": [{"RandomHorizontalFlip": {}}],
    "epochs": 1,
    "patience": None,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 0.001,
    "weight_decay": 0.0,
    "schedule": "one_cycle",
}


def test_the_settings_of_finetune_define_a_classifier_on_a_saved_autoencoder(autoencoder, tmp_path):
    save_model(autoencoder, tmp_path)
    settings = FinetuneParams.model_validate(SETTINGS)
    images = torch.rand(4, 1, 28, 28)

    classifier = build_classifier(tmp_path, settings, 7).eval()
    assert classifier.config["freeze_encoder"]
    assert classifier.mirrored
    torch.testing.assert_close(classifier.encoder(images), autoencoder.encode(images))
    torch.testing.assert_close(classifier(images), classifier(images.flip(3)))
    assert classifier(images).shape == (4, 7)

    untrained = build_classifier(tmp_path, settings, 7, from_scratch=True).eval()
    assert not torch.equal(untrained.encoder(images), autoencoder.encode(images))
