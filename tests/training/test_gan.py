import math

import pytest
import torch

from crafting import needs_bfloat16
from latentlab.common.errors import TrainingDiverged
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.generator_monitor import FRECHET
from latentlab.models.gan import Discriminator, Generator
from latentlab.params.generators import GanParams
from latentlab.training.gan import AdversarialTraining


def make_training(epochs=2, count=40, monitor=None, **changes):
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
    base = {"noise_dim": 6, "channels": 4, "batch_size": 16}
    base |= {"epochs": epochs, "learning_rate": 1e-3, "adam_beta1": 0.5}
    settings = GanParams(**base | changes)
    shares = [0.5, 0.3, 0.2] if settings.conditional else []
    return AdversarialTraining(
        Generator((1, 8, 8), 6, 4, shares),
        Discriminator((1, 8, 8), 4, settings.normalization, len(shares)),
        settings,
        ImageSet(pixels, torch.zeros(count, dtype=torch.int64)),
        seed=0,
        device=torch.device("cpu"),
        evaluator=monitor,
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


@pytest.mark.parametrize("loss", ["bce", "hinge", "wasserstein"])
def test_the_gradients_of_the_other_player_are_not_computed(loss):
    training = make_training(loss=loss, normalization="spectral")

    training.step_generator(16)

    assert all(weight.grad is None for weight in training.discriminator.parameters())
    assert all(weight.grad is not None for weight in training.generator.parameters())


@needs_bfloat16
@pytest.mark.parametrize("loss", ["bce", "wasserstein"])
def test_in_bfloat16_the_players_are_trained_as_in_float32(loss):
    records = {}
    for precision in ("float32", "bfloat16"):
        training = make_training(loss=loss, normalization="spectral", precision=precision)
        records[precision] = next(training.epochs())

    assert records["bfloat16"] != records["float32"]
    assert records["bfloat16"] == pytest.approx(records["float32"], rel=0.05, abs=0.01)


def test_the_learning_rate_falls_linearly_over_the_last_share_of_the_training():
    training = make_training(epochs=4, lr_decay_fraction=0.5)
    used = []
    for _ in training.epochs():
        for optimizer in (training.generator_optimizer, training.discriminator_optimizer):
            used.append(optimizer.param_groups[0]["lr"])

    # that of the last of three steps of each epoch, of twelve in all
    expected = [rate for left in (10, 7, 4, 1) for rate in [1e-3 * min(1, left / 12 / 0.5)] * 2]
    assert used == pytest.approx(expected)
    assert make_training().rate_at(5) == 1e-3


@pytest.mark.parametrize("loss", ["bce", "wasserstein"])
def test_what_is_mixed_with_real_images_is_of_their_classes(loss):
    training = make_training(loss=loss, normalization="none", conditional=True)
    labels = torch.tensor([2] * 16)
    asked, generate = [], training.generate

    def listen(count, labels=None):
        images, classes = generate(count, labels)
        asked.append(classes)
        return images, classes

    training.generate = listen
    training.step_discriminator(torch.rand(16, 1, 8, 8) * 2 - 1, labels)

    assert torch.equal(asked[0], labels) == (loss == "wasserstein")


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
        match=r"epoch 2, step 1 of 3 \(learning rate 0\.001, last finite loss \d\.\d+\); "
        r"lower gan\.learning_rate",
    ):
        next(epochs)

    assert training.best_epoch == 1
    kept = training.restore_best().state_dict()
    assert all(torch.equal(finite[name], value) for name, value in kept.items())


@pytest.mark.parametrize("monitor", [None, "Oracle"])
def test_a_last_step_that_breaks_the_generator_stops(monitor):
    """One batch: no later loss tells."""
    monitor = Oracle(1.0) if monitor else None
    training = make_training(epochs=1, count=12, evaluator=monitor, learning_rate=1e30)

    with pytest.raises(
        TrainingDiverged, match=r"images are not finite after epoch 1 .*; lower gan"
    ):
        list(training.epochs())

    kept = training.restore_best().state_dict()
    assert all(value.isfinite().all() for value in kept.values())


def test_the_short_rest_of_an_epoch_is_left_out():
    training = make_training(epochs=1, count=40)
    seen = []
    step = training.step_discriminator
    training.step_discriminator = lambda real, labels: seen.append(len(real)) or step(real, labels)

    list(training.epochs())

    assert seen == [16, 16]


def test_a_set_smaller_than_a_batch_still_trains():
    records = list(make_training(epochs=1, count=5).epochs())

    assert math.isfinite(records[0]["train/generator_loss"])


class Oracle:
    """Says in the place of a monitor how far a generator is from real images."""

    def __init__(self, *distances):
        self.distances = iter(distances)
        self.seen = []

    def evaluate(self, generator):
        self.seen.append({n: v.clone() for n, v in generator.state_dict().items()})
        return {FRECHET: next(self.distances)}


def test_the_generator_that_came_closest_is_kept():
    oracle = Oracle(3.0, 1.0, 2.0)
    training = make_training(epochs=3, monitor=oracle)

    records = list(training.epochs())

    assert [record[FRECHET] for record in records] == [3.0, 1.0, 2.0]
    assert training.best_epoch == 2
    kept = training.restore_best().state_dict()
    assert all(torch.equal(oracle.seen[1][name], value) for name, value in kept.items())


def test_samples_are_judged_every_so_many_epochs_and_at_the_end():
    training = make_training(epochs=5, monitor=Oracle(1.0, 2.0, 3.0), eval_every=2)

    records = list(training.epochs())

    assert [record["epoch"] for record in records if FRECHET in record] == [2, 4, 5]
    assert training.best_epoch == 2


def test_before_the_first_judgement_the_latest_is_kept():
    training = make_training(epochs=5, monitor=Oracle(1.0), eval_every=4)
    running = training.epochs()

    next(running)
    next(running)

    assert training.best_epoch == 2


def test_the_average_of_the_generator_is_what_is_judged_and_kept():
    training = make_training(ema_decay=0.9)
    trained = training.generator.state_dict()
    list(training.epochs())
    last = {name: value.clone() for name, value in trained.items()}

    kept = training.restore_best().state_dict()

    weight = "layers.0.weight"
    assert torch.equal(kept[weight], training.ema.module.state_dict()[weight])
    assert not torch.equal(kept[weight], last[weight])


def test_the_generator_waits_for_some_steps_of_the_discriminator():
    training = make_training(epochs=2, count=16 * 7, discriminator_steps=3)
    turns = []
    for player in ("discriminator", "generator"):
        name = f"step_{player}"
        step = getattr(training, name)
        setattr(training, name, lambda *a, p=player, s=step: turns.append(p[0]) or s(*a))

    list(training.epochs())

    assert "".join(turns) == 2 * "dddgdddgdg"


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "hinge", "normalization": "spectral"},
        {"loss": "wasserstein", "normalization": "none", "discriminator_steps": 2},
        {"conditional": True, "label_smoothing": 0.1},
    ],
)
def test_every_kind_of_game_is_played(changes):
    training = make_training(**changes)
    generator, discriminator = weights(training.generator), weights(training.discriminator)

    records = list(training.epochs())

    assert all(math.isfinite(value) for record in records for value in record.values())
    assert changed(generator, training.generator)
    assert changed(discriminator, training.discriminator)


def test_the_same_noise_is_drawn_after_every_epoch():
    training = make_training(epochs=3)

    list(training.epochs())

    assert [tuple(frame.shape) for frame in training.frames] == 3 * [(64, 1, 8, 8)]
    generator = training.restore_best()
    with torch.no_grad():
        last = generator(training.preview_inputs)
    shown = training.frames[-1].float() / 127.5 - 1
    assert (shown - last).abs().max() < 1 / 127


def test_the_length_of_a_gradient_is_recorded():
    training = make_training()
    record = training.step_generator(16)

    lengths = [p.grad.norm() for p in training.generator.parameters()]
    torch.testing.assert_close(record["train/generator_gradient"], torch.stack(lengths).norm())
