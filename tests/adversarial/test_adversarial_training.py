import math

import pytest
import torch

from latentlab.adversarial.training import AdversarialTraining
from latentlab.data.image_set import ImageSet
from latentlab.errors import TrainingDiverged
from latentlab.models.gan import Discriminator, Generator
from latentlab.params import GanParams


def make_training(epochs=2, count=40):
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
    settings = GanParams(
        noise_dim=6, channels=4, epochs=epochs, batch_size=16, learning_rate=1e-3, adam_beta1=0.5
    )
    return AdversarialTraining(
        Generator((1, 8, 8), 6, 4),
        Discriminator((1, 8, 8), 4),
        settings,
        ImageSet(pixels, torch.zeros(count, dtype=torch.int64)),
        seed=0,
        device=torch.device("cpu"),
    )


def weights(network):
    return {name: value.clone() for name, value in network.named_parameters()}


def changed(before, network):
    return any(not torch.equal(before[name], value) for name, value in network.named_parameters())


def test_each_step_moves_its_own_player_alone():
    training = make_training()
    real = torch.rand(16, 1, 8, 8) * 2 - 1

    generator, discriminator = weights(training.generator), weights(training.discriminator)
    training.step_discriminator(real)
    assert changed(discriminator, training.discriminator)
    assert not changed(generator, training.generator)

    discriminator = weights(training.discriminator)
    training.step_generator(16)
    assert changed(generator, training.generator)
    assert not changed(discriminator, training.discriminator)


def test_losses_of_a_blind_discriminator_are_the_known_constants():
    """At D = 1/2 everywhere the discriminator's loss is 2 log 2 and the generator's log 2."""
    training = make_training()
    for parameter in training.discriminator.parameters():
        parameter.data.zero_()

    discriminator = training.step_discriminator(torch.rand(16, 1, 8, 8))
    assert discriminator["train/discriminator_loss"].item() == pytest.approx(2 * math.log(2))
    assert discriminator["train/d_real"].item() == pytest.approx(0.5)

    for parameter in training.discriminator.parameters():
        parameter.data.zero_()
    generator = training.step_generator(16)
    assert generator["train/generator_loss"].item() == pytest.approx(math.log(2))


def test_the_same_seed_gives_the_same_generator_bit_by_bit():
    states = []
    for _ in range(2):
        training = make_training()
        list(training.epochs())
        states.append(training.generator.state_dict())

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_records_are_the_history_and_the_last_epoch_is_kept():
    training = make_training(epochs=3)

    records = list(training.epochs())

    assert records == training.history
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert training.best_epoch == 3
    last = {name: value.clone() for name, value in training.generator.state_dict().items()}
    kept = training.restore_best()
    assert not kept.training
    assert all(torch.equal(last[name], value) for name, value in kept.state_dict().items())


def test_a_loss_that_is_not_finite_stops_and_the_weights_from_before_are_kept():
    training = make_training(epochs=3)
    epochs = training.epochs()
    next(epochs)
    finite = {name: value.clone() for name, value in training.generator.state_dict().items()}
    next(training.discriminator.parameters()).data.fill_(math.nan)

    with pytest.raises(
        TrainingDiverged,
        match=r"epoch 2, step 1 of 3 \(learning rate 0\.001, last finite loss 2\.\d+\); "
        r"lower gan\.learning_rate",
    ):
        next(epochs)

    assert training.best_epoch == 1
    kept = training.restore_best().state_dict()
    assert all(torch.equal(finite[name], value) for name, value in kept.items())


def test_the_short_rest_of_an_epoch_is_left_out():
    training = make_training(epochs=1, count=40)
    seen = []
    step = training.step_discriminator
    training.step_discriminator = lambda real: seen.append(len(real)) or step(real)

    list(training.epochs())

    assert seen == [16, 16]


def test_a_set_smaller_than_a_batch_still_trains():
    records = list(make_training(epochs=1, count=5).epochs())

    assert math.isfinite(records[0]["train/generator_loss"])
