import math

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy

from crafting import needs_bfloat16
from latentlab.common.errors import TrainingDiverged
from latentlab.data.image_set import ImageSet
from latentlab.models.gan import Discriminator, Generator
from latentlab.params.generators import GanParams
from latentlab.training.gan import (
    AdversarialTraining,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)

FRECHET = "validation/classifier_frechet_distance"
REAL = torch.tensor([1.5, -0.5, 0.2])
GENERATED = torch.tensor([-2.0, 0.4, 1.1])


def test_bce_is_the_cross_entropy_of_the_probabilities():
    for smoothing in (0.0, 0.1):
        expected = binary_cross_entropy(REAL.sigmoid(), torch.full((3,), 1 - smoothing))
        expected += binary_cross_entropy(GENERATED.sigmoid(), torch.zeros(3))

        torch.testing.assert_close(discriminator_loss("bce", REAL, GENERATED, smoothing), expected)
    non_saturating = -GENERATED.sigmoid().log().mean()
    torch.testing.assert_close(generator_loss("bce", GENERATED), non_saturating)


def test_hinge_is_zero_beyond_the_margin():
    loss = discriminator_loss("hinge", REAL, GENERATED)

    assert loss.item() == pytest.approx((0 + 1.5 + 0.8) / 3 + (0 + 1.4 + 2.1) / 3)
    assert generator_loss("hinge", GENERATED).item() == pytest.approx(0.5 / 3)


def test_wasserstein_is_the_difference_of_the_means():
    loss = discriminator_loss("wasserstein", REAL, GENERATED)

    assert loss.item() == pytest.approx((-0.5 - 1.2) / 3)
    assert generator_loss("wasserstein", GENERATED).item() == pytest.approx(0.5 / 3)


def test_the_penalty_of_a_linear_critic_depends_on_the_norm_of_its_weights():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    real, generated = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)

    penalty = gradient_penalty(critic, real, generated, torch.rand(5))

    torch.testing.assert_close(penalty, (critic[1].weight.norm() - 1).square())
    penalty.backward()
    assert critic[1].weight.grad.abs().sum() > 0


def test_the_penalty_is_evaluated_between_real_and_generated_images():
    """The gradient of |x|^2 / 2 is x itself, so its norm shows where it was evaluated."""
    real, generated = torch.full((2, 1, 2, 2), 3.0), torch.full((2, 1, 2, 2), -1.0)
    shares = torch.tensor([1.0, 0.25])  # at 3 and at 0

    penalty = gradient_penalty(lambda x: x.square().flatten(1).sum(1) / 2, real, generated, shares)

    assert penalty.item() == pytest.approx(((6 - 1) ** 2 + (0 - 1) ** 2) / 2)


def make_training(epochs=2, count=40, evaluator=None, **changes):
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
        evaluator=evaluator,
    )


def weights(network):
    return {name: value.clone() for name, value in network.named_parameters()}


def changed(before, network):
    return any(not torch.equal(before[name], value) for name, value in network.named_parameters())


class RecordingDiscriminator(Discriminator):
    """A discriminator that remembers the images it is given."""

    def forward(self, images, labels=None):
        self.seen = [*getattr(self, "seen", []), images]
        return super().forward(images, labels)


@pytest.mark.parametrize("loss", ["bce", "wasserstein"])
def test_real_and_generated_images_are_augmented_in_both_steps(loss):
    """With gradients; otherwise the generator would learn to generate augmented images."""
    gray = {"RandomErasing": {"p": 1.0, "value": 0.5, "scale": [0.6, 0.6], "ratio": [1.0, 1.0]}}
    shift = {"RandomCrop": {"padding": 7}}
    for transform, background in ((gray, 0.0), (shift, -1.0)):
        training = make_training(loss=loss, normalization="none", augmentation=[transform])
        training.discriminator = RecordingDiscriminator((1, 8, 8), 4, "none")
        before = weights(training.generator)
        training.step_discriminator(torch.rand(16, 1, 8, 8) * 2 - 1)
        training.step_generator(16)

        seen = training.discriminator.seen
        real, generated, in_generator_step = seen[0], seen[1], seen[-1]
        for images in (real, generated, in_generator_step):
            assert images.min() >= -1
            assert images.max() <= 1
            assert float((images == background).float().mean()) > 0.2
        assert changed(before, training.generator)


def test_without_augmentation_images_are_not_changed():
    images = torch.rand(4, 1, 8, 8) * 2 - 1

    assert make_training().augment(images) is images


def test_each_step_updates_one_network_only():
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


def test_a_generator_step_computes_no_gradients_of_the_discriminator():
    for loss in ("bce", "hinge", "wasserstein"):
        training = make_training(loss=loss, normalization="spectral")

        training.step_generator(16)

        assert all(weight.grad is None for weight in training.discriminator.parameters())
        assert all(weight.grad is not None for weight in training.generator.parameters())


@needs_bfloat16
@pytest.mark.parametrize("loss", ["bce", "wasserstein"])
def test_training_in_bfloat16_agrees_with_float32(loss):
    records = {}
    for precision in ("float32", "bfloat16"):
        training = make_training(loss=loss, normalization="spectral", precision=precision)
        records[precision] = next(training.epochs())

    assert records["bfloat16"] != records["float32"]
    assert records["bfloat16"] == pytest.approx(records["float32"], rel=0.05, abs=0.01)


def test_the_learning_rate_decreases_linearly_at_the_end_of_training():
    training = make_training(epochs=4, lr_decay_fraction=0.5)
    used = []
    for _ in training.epochs():
        for optimizer in (training.generator_optimizer, training.discriminator_optimizer):
            used.append(optimizer.param_groups[0]["lr"])

    # the rate of the last of three steps per epoch, of twelve in total
    expected = [rate for left in (10, 7, 4, 1) for rate in [1e-3 * min(1, left / 12 / 0.5)] * 2]
    assert used == pytest.approx(expected)
    assert make_training().rate_at(5) == 1e-3


@pytest.mark.parametrize("loss", ["bce", "wasserstein"])
def test_wasserstein_generates_images_of_the_classes_of_the_real_ones(loss):
    training = make_training(loss=loss, normalization="none", conditional=True)
    labels = torch.tensor([2] * 16)
    generated, generate = [], training.generate

    def record(count, labels=None):
        images, classes = generate(count, labels)
        generated.append(classes)
        return images, classes

    training.generate = record
    training.step_discriminator(torch.rand(16, 1, 8, 8) * 2 - 1, labels)

    assert torch.equal(generated[0], labels) == (loss == "wasserstein")


def test_the_losses_of_a_constant_discriminator_are_known():
    """For D = 1/2 the loss of the discriminator is 2 log 2 and that of the generator log 2."""
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


def test_the_same_seed_gives_a_bit_identical_generator():
    states = []
    for _ in range(2):
        training = make_training()
        list(training.epochs())
        states.append(training.generator.state_dict())

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_without_an_evaluator_the_last_epoch_is_the_best():
    training = make_training(epochs=3)

    records = list(training.epochs())

    assert records == training.history
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert training.best_epoch == 3
    last = {name: value.clone() for name, value in training.generator.state_dict().items()}
    restored = training.restore_best()
    assert not restored.training
    assert all(torch.equal(last[name], value) for name, value in restored.state_dict().items())


def test_after_a_loss_that_is_not_finite_the_weights_of_the_last_finite_epoch_are_restored():
    training = make_training(epochs=3)
    epochs = training.epochs()
    next(epochs)
    finite = {name: value.clone() for name, value in training.generator.state_dict().items()}
    next(training.discriminator.parameters()).data.fill_(math.nan)

    with pytest.raises(TrainingDiverged, match=r"lower gan\.learning_rate$"):
        next(epochs)

    assert training.best_epoch == 1
    restored = training.restore_best().state_dict()
    assert all(torch.equal(finite[name], value) for name, value in restored.items())


def test_images_that_are_not_finite_raise_an_error(message):
    """There is one batch, so no later loss could show it."""
    for evaluator in (None, FixedDistances(1.0)):
        training = make_training(epochs=1, count=12, evaluator=evaluator, learning_rate=1e30)

        with pytest.raises(TrainingDiverged) as raised:
            list(training.epochs())

        message("training/generated images not finite", raised.value)
        restored = training.restore_best().state_dict()
        assert all(value.isfinite().all() for value in restored.values())


def test_the_incomplete_last_batch_of_an_epoch_is_skipped():
    training = make_training(epochs=1, count=40)
    sizes = []
    step = training.step_discriminator
    training.step_discriminator = lambda real, labels: sizes.append(len(real)) or step(real, labels)

    list(training.epochs())

    assert sizes == [16, 16]


def test_a_dataset_smaller_than_a_batch_can_be_trained_on():
    records = list(make_training(epochs=1, count=5).epochs())

    assert math.isfinite(records[0]["train/generator_loss"])


class FixedDistances:
    """An evaluator that returns given distances."""

    metric = FRECHET

    def __init__(self, *distances):
        self.distances = iter(distances)
        self.evaluated = []

    def evaluate(self, generator):
        self.evaluated.append({n: v.clone() for n, v in generator.state_dict().items()})
        return {FRECHET: next(self.distances)}


def test_the_generator_with_the_smallest_distance_is_restored():
    evaluator = FixedDistances(3.0, 1.0, 2.0)
    training = make_training(epochs=3, evaluator=evaluator)

    records = list(training.epochs())

    assert [record[FRECHET] for record in records] == [3.0, 1.0, 2.0]
    assert training.best_epoch == 2
    restored = training.restore_best().state_dict()
    assert all(torch.equal(evaluator.evaluated[1][name], value) for name, value in restored.items())


def test_the_generator_is_evaluated_every_eval_every_epochs_and_at_the_end():
    training = make_training(epochs=5, evaluator=FixedDistances(1.0, 2.0, 3.0), eval_every=2)

    records = list(training.epochs())

    assert [record["epoch"] for record in records if FRECHET in record] == [2, 4, 5]
    assert training.best_epoch == 2


def test_before_the_first_evaluation_the_latest_epoch_is_the_best():
    training = make_training(epochs=5, evaluator=FixedDistances(1.0), eval_every=4)
    running = training.epochs()

    next(running)
    next(running)

    assert training.best_epoch == 2


def test_the_ema_of_the_generator_is_evaluated_and_restored():
    training = make_training(ema_decay=0.9)
    trained = training.generator.state_dict()
    list(training.epochs())
    last = {name: value.clone() for name, value in trained.items()}

    restored = training.restore_best().state_dict()

    weight = "layers.0.weight"
    assert torch.equal(restored[weight], training.ema.module.state_dict()[weight])
    assert not torch.equal(restored[weight], last[weight])


def test_the_generator_is_updated_after_discriminator_steps_and_at_the_end_of_an_epoch():
    training = make_training(epochs=2, count=16 * 7, discriminator_steps=3)
    steps = []
    for network in ("discriminator", "generator"):
        name = f"step_{network}"
        step = getattr(training, name)
        setattr(training, name, lambda *a, n=network, s=step: steps.append(n[0]) or s(*a))

    list(training.epochs())

    assert "".join(steps) == 2 * "dddgdddgdg"


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "hinge", "normalization": "spectral"},
        {"loss": "wasserstein", "normalization": "none", "discriminator_steps": 2},
        {"conditional": True, "label_smoothing": 0.1},
    ],
)
def test_every_variant_of_the_loss_trains_both_networks(changes):
    training = make_training(**changes)
    generator, discriminator = weights(training.generator), weights(training.discriminator)

    records = list(training.epochs())

    assert all(math.isfinite(value) for record in records for value in record.values())
    assert changed(generator, training.generator)
    assert changed(discriminator, training.discriminator)


def test_preview_images_use_the_same_noise_after_every_epoch():
    training = make_training(epochs=3)

    list(training.epochs())

    assert [tuple(frame.shape) for frame in training.frames] == 3 * [(64, 1, 8, 8)]
    generator = training.restore_best()
    with torch.no_grad():
        last = generator(training.preview_inputs)
    preview = training.frames[-1].float() / 127.5 - 1
    assert (preview - last).abs().max() < 1 / 127


def test_the_norm_of_the_gradient_is_recorded():
    training = make_training()
    record = training.step_generator(16)

    norms = [p.grad.norm() for p in training.generator.parameters()]
    torch.testing.assert_close(record["train/generator_gradient"], torch.stack(norms).norm())
