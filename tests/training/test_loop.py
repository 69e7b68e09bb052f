import copy
import math

import pytest
import torch
from torch import nn

from latentlab.data.image_set import ImageSet
from latentlab.errors import TrainingDiverged
from latentlab.models.autoencoder import Autoencoder
from latentlab.params import OptimizationParams
from latentlab.training.loop import Training

CPU = torch.device("cpu")


def settings(**changes):
    base = {
        "epochs": 3,
        "patience": None,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "schedule": "one_cycle",
    }
    return OptimizationParams(**base | changes)


def images(count, seed):
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2)


def autoencoder():
    torch.manual_seed(0)
    return Autoencoder((1, 8, 8), [4, 8], 16, 4, "silu", "subpixel")


def train(**changes):
    training = Training(autoencoder(), settings(**changes), images(50, 0), images(20, 1), 0, CPU)
    for _ in training.epochs():
        pass
    return training


class Constant(nn.Module):
    """A model whose validation losses are written down in advance."""

    def __init__(self, validation_losses):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses = iter(validation_losses)
        self.register_buffer("validated", torch.zeros(()))

    def loss_terms(self, images, labels):
        if self.training:
            return {"loss": self.weight * 1.0}
        self.validated += 1
        return {"loss": torch.tensor(next(self.losses))}


def train_constant(losses, **changes):
    training = Training(
        Constant(losses),
        settings(epochs=len(losses), **changes),
        images(16, 0),
        images(8, 1),
        0,
        CPU,
    )
    for _ in training.epochs():
        pass
    return training


def test_a_record_holds_every_term_of_both_splits():
    record = train().history[0]

    assert set(record) == {
        "epoch",
        "learning_rate",
        "train/loss",
        "train/mse",
        "validation/loss",
        "validation/mse",
    }


def test_training_lowers_the_loss():
    history = train(epochs=10).history

    assert history[-1]["train/loss"] < history[0]["train/loss"]


def test_the_same_seed_gives_the_same_weights_bit_by_bit():
    first, second = train().model.state_dict(), train().model.state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_loop_equals_a_plain_one_written_out():
    data = images(50, 0)
    reference = autoencoder()
    optimizer = torch.optim.SGD(reference.parameters(), 0.01, momentum=0.9)
    order = torch.Generator().manual_seed(0)
    for _ in range(2):
        for batch in torch.randperm(50, generator=order).split(16):
            pixels = data.images[batch].float() / 255
            optimizer.zero_grad()
            nn.functional.mse_loss(reference(pixels), pixels).backward()
            optimizer.step()

    trained = train(epochs=2, optimizer="sgd", schedule="constant").model.state_dict()

    for name, weight in reference.state_dict().items():
        torch.testing.assert_close(trained[name], weight, msg=name)


def test_the_recorded_loss_is_the_mean_over_images_not_over_batches():
    training = train(learning_rate=1e-12)
    data = images(50, 0)
    with torch.no_grad():
        expected = autoencoder().loss_terms(data.floats(), data.labels)["loss"]

    assert training.history[0]["train/loss"] == pytest.approx(expected.item(), rel=1e-4)


def test_the_best_weights_are_kept_not_the_last():
    training = train_constant([3.0, 1.0, 2.0])

    model = training.restore_best()

    assert training.best_epoch == 2
    assert training.best_loss == 1.0
    assert model.validated == 2
    assert not model.training


def test_patience_stops_the_training():
    training = train_constant([3.0, 1.0, 2.0, 2.0, 0.5], patience=2)

    assert len(training.history) == 4
    assert training.best_epoch == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_epoch_rate_and_last_loss(value):
    with pytest.raises(TrainingDiverged, match=r"epoch 2 \(learning rate .*last finite loss"):
        train_constant([1.0, value, 1.0])


def test_the_best_weights_are_a_copy():
    training = train_constant([1.0, 2.0])
    before = copy.deepcopy(training._best_weights)
    training.model.weight.data += 1

    assert torch.equal(training._best_weights["weight"], before["weight"])
