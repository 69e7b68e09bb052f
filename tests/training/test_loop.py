import copy
import itertools
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from crafting import optimization_settings
from latentlab.common.errors import TrainingDiverged
from latentlab.data.image_set import ImageSet
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.io import TrainableModel
from latentlab.params.geometry import Architecture
from latentlab.training.loop import STEPS_BETWEEN_CHECKS, Training

CPU = torch.device("cpu")


def images(count, seed):
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2)


def autoencoder():
    torch.manual_seed(0)
    return Autoencoder(Architecture((1, 8, 8), [4, 8], 16, 4))


def train(**changes):
    training = Training(
        autoencoder(), optimization_settings(**changes), images(50, 0), images(20, 1), 0, CPU
    )
    assert list(training.epochs()) == training.history
    return training


class FixedValidationLoss(TrainableModel):
    """A model with given validation losses."""

    def __init__(self, validation_losses):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses = iter(validation_losses)
        self.register_buffer("validated", torch.zeros(()))

    def latent_codes(self, images):
        raise NotImplementedError

    def loss_terms(self, images, labels):
        if self.training:
            return {"loss": self.weight * 1.0}
        self.validated += 1
        return {"loss": torch.tensor(next(self.losses))}


def train_with_validation_losses(losses, **changes):
    training = Training(
        FixedValidationLoss(losses),
        optimization_settings(epochs=len(losses), **changes),
        images(16, 0),
        images(8, 1),
        0,
        CPU,
    )
    for _ in training.epochs():
        pass
    return training


class RecordingModel(FixedValidationLoss):
    """A model that remembers the images that it is trained and validated on."""

    def __init__(self):
        super().__init__([0.0] * 9)
        self.seen = {True: [], False: []}

    def loss_terms(self, images, labels):
        self.seen[self.training].append(images.clone())
        return super().loss_terms(images, labels)


def test_training_images_are_augmented_and_validation_images_are_not():
    """In every model, before its loss: a denoiser corrupts augmented images."""
    seen = {}
    for name, augmentation in (
        ("plain", ()),
        ("mirrored", ({"RandomHorizontalFlip": {"p": 1.0}},)),
    ):
        model = RecordingModel()
        settings = optimization_settings(epochs=1, augmentation=augmentation)
        list(Training(model, settings, images(16, 0), images(8, 1), 0, CPU).epochs())
        seen[name] = {mode: torch.cat(batches) for mode, batches in model.seen.items()}

    assert torch.equal(seen["mirrored"][True], seen["plain"][True].flip(3))
    assert torch.equal(seen["mirrored"][False], seen["plain"][False])


def test_images_are_augmented_anew_in_each_epoch():
    model = RecordingModel()
    settings = optimization_settings(epochs=2, augmentation=({"RandomCrop": {"padding": 2}},))
    one = ImageSet(images(1, 0).images.expand(16, -1, -1, -1), torch.arange(16) % 2)
    list(Training(model, settings, one, images(8, 1), 0, CPU).epochs())

    first, second = model.seen[True]
    assert not torch.equal(first, second)
    assert len(first.flatten(1).unique(dim=0)) > 4


def test_a_record_contains_every_loss_term_of_both_splits():
    record = train().history[0]

    assert set(record) == {
        "epoch",
        "learning_rate",
        "train/loss",
        "train/mse",
        "validation/loss",
        "validation/mse",
    }


def test_training_reduces_the_loss():
    history = train(epochs=10).history

    assert history[-1]["train/loss"] < history[0]["train/loss"]


def test_the_same_seed_gives_bit_identical_weights():
    first, second = train().model.state_dict(), train().model.state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_loop_equals_a_minimal_loop_in_plain_torch():
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


def test_the_weights_of_the_best_epoch_are_restored():
    training = train_with_validation_losses([3.0, 1.0, 2.0])

    model = training.restore_best()

    assert training.best_epoch == 2
    assert training.best_loss == 1.0
    assert model.validated == 2
    assert not model.training


def test_training_stops_when_the_patience_runs_out():
    training = train_with_validation_losses([3.0, 1.0, 2.0, 2.0, 0.5], patience=2)

    assert len(training.history) == 4
    assert training.best_epoch == 2


def test_a_validation_loss_that_is_not_finite_raises_an_error(message):
    for value in (math.nan, math.inf):
        with pytest.raises(TrainingDiverged) as raised:
            train_with_validation_losses([1.0, value, 1.0], schedule="constant")

        message("training/validation loss not finite", raised.value)


class FixedTrainingLoss(FixedValidationLoss):
    """A model with given training losses."""

    def loss_terms(self, images, labels):
        value = next(self.losses) if self.training else 1.0
        return {"loss": self.weight * 0.0 + value}


@pytest.mark.parametrize(
    ("before", "value"), [(0, math.nan), (4, math.inf), (5, math.nan), (7, -math.inf)]
)
def test_the_error_for_a_loss_that_is_not_finite_names_step_rate_and_last_loss(
    before, value, message
):
    losses = [*(2.0 + step for step in range(before)), value, *[1.0] * 9]
    training = Training(
        FixedTrainingLoss(losses),
        optimization_settings(
            epochs=2,
            batch_size=10,
            learning_rate=0.25,
            schedule="step",
            step_epochs=1,
            step_factor=0.5,
        ),
        images(50, 0),
        images(8, 1),
        0,
        CPU,
    )

    with pytest.raises(TrainingDiverged) as raised:
        list(training.epochs())
    message(f"training/loss not finite after {before} steps", raised.value)


def test_a_loss_that_is_not_finite_is_detected_before_a_long_epoch_ends():
    steps = 3 * STEPS_BETWEEN_CHECKS
    losses = iter([1.0, math.nan, *[1.0] * steps])
    training = Training(
        FixedTrainingLoss(losses),
        optimization_settings(batch_size=1),
        images(steps, 0),
        images(8, 1),
        0,
        CPU,
    )

    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 2 of 150"):
        list(training.epochs())

    assert len(list(losses)) == 2 + steps - STEPS_BETWEEN_CHECKS


def test_an_improvement_below_min_delta_does_not_reset_the_patience_but_can_be_the_best():
    losses = [3.0, 1.0, 0.9, 0.8, 0.7, 0.6]
    patient = train_with_validation_losses(losses, patience=2, min_delta=0.05)
    strict = train_with_validation_losses(losses, patience=2, min_delta=0.5)

    assert len(patient.history) == 6
    assert len(strict.history) == 4
    assert strict.best_epoch == 4


def test_several_small_improvements_reset_the_patience_once_they_exceed_min_delta():
    training = train_with_validation_losses(
        [1.0, 0.9, 0.8, 0.7, 0.6, 0.5], patience=3, min_delta=0.25
    )

    assert len(training.history) == 6


# the decay grows from 0.1; it reaches 0.4 within these steps, but not 0.9
@pytest.mark.parametrize("decay", [0.4, 0.9])
def test_the_ema_of_the_weights_is_validated_and_restored(decay):
    training = Training(
        autoencoder(),
        optimization_settings(schedule="constant", ema_decay=decay, learning_rate=0.004),
        images(50, 0),
        images(20, 1),
        0,
        CPU,
    )
    average, count = {}, itertools.count()
    step = training.optimization.step  # the average starts with the weights after the first step

    def step_and_average():
        step()
        taken = next(count)
        old = min(decay, (1 + taken) / (10 + taken))
        for name, weight in training.model.named_parameters():
            weight = weight.detach()
            before = average.get(name, weight)
            average[name] = old * before + (1 - old) * weight

    training.optimization.step = step_and_average
    list(training.epochs())
    last = {name: weight.detach().clone() for name, weight in training.model.named_parameters()}
    restored = training.restore_best()

    assert training.best_epoch == 3
    for name, weight in restored.named_parameters():
        assert (weight - last[name]).abs().max() > 1e-3, name
        torch.testing.assert_close(weight, average[name], msg=name)
    held_out = training.validation
    with torch.no_grad():
        loss = restored.loss_terms(held_out.floats(), held_out.labels)["loss"]
    assert training.best_loss == pytest.approx(loss.item(), rel=1e-5)


def test_training_does_not_import_torch_dynamo():
    code = """
import sys
import torch
from latentlab.params.geometry import Architecture
from latentlab.data.image_set import ImageSet
from latentlab.models.autoencoder import Autoencoder
from latentlab.params.networks import OptimizationParams
from latentlab.params.schema import RuntimeParams
from latentlab.models.device import prepare
from latentlab.training.loop import Training

device = prepare(RuntimeParams(seed=0, device="cpu", threads=1))
images = ImageSet(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
for optimizer in ("adamw", "radam", "muon"):
    settings = OptimizationParams(
        epochs=1, patience=None, batch_size=4, optimizer=optimizer, learning_rate=0.01,
        weight_decay=0.0, schedule="one_cycle", ema_decay=0.9, l1=0.1, clip_norm=1.0,
    )
    model = Autoencoder(Architecture((1, 8, 8), [4], 8, 2))
    training = Training(model, settings, images, images, 0, device)
    print(len(list(training.epochs())))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stdout.split() == ["1", "1", "1", "False"], done.stderr


def test_further_training_does_not_change_the_best_weights():
    training = train_with_validation_losses([1.0, 2.0])
    before = copy.deepcopy(training._best_weights)
    training.model.weight.data += 1

    assert torch.equal(training._best_weights["weight"], before["weight"])
