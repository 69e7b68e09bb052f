import pytest
import torch
from torch import nn

from latentlab.params import OptimizationParams, Optimizer
from latentlab.training.optimization import OPTIMIZERS, make_optimizer, make_schedule

SETTINGS = OptimizationParams(
    epochs=1,
    patience=None,
    batch_size=8,
    optimizer="adamw",
    learning_rate=0.01,
    weight_decay=0.0,
    schedule="one_cycle",
)


def test_every_optimizer_of_the_schema_exists():
    assert set(OPTIMIZERS) == set(Optimizer.__args__)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_a_convex_loss(name):
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    inputs, targets = torch.randn(64, 3), torch.randn(64, 1)
    optimizer = make_optimizer(SETTINGS.model_copy(update={"optimizer": name}), layer.parameters())

    losses = []
    for _ in range(50):
        loss = nn.functional.mse_loss(layer(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < losses[0]


def test_frozen_parameters_are_left_out():
    layer = nn.Linear(3, 1)
    layer.bias.requires_grad_(False)

    optimizer = make_optimizer(SETTINGS, layer.parameters())

    assert [p is layer.weight for p in optimizer.param_groups[0]["params"]] == [True]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_the_peak_of_a_schedule_is_the_learning_rate(schedule):
    settings = SETTINGS.model_copy(update={"schedule": schedule})
    optimizer = make_optimizer(settings, nn.Linear(3, 1).parameters())
    scheduler = make_schedule(settings, optimizer, steps=100)

    rates = [scheduler.get_last_lr()[0]]
    for _ in range(99):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])

    assert max(rates) == pytest.approx(0.01, rel=1e-3)
    if schedule == "constant":
        assert min(rates) == max(rates)
    else:
        assert rates[-1] < 0.001
