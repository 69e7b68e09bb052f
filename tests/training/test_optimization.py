import itertools
import math
from functools import partial
from typing import get_args

import pytest
import torch
from torch import nn, optim

from latentlab.params.networks import OptimizationParams, Optimizer
from latentlab.training.optimization import (
    OPTIMIZERS,
    Optimization,
    add_l1_gradient,
    learning_rate_at,
)

RATE = 0.01


def settings(**changes):
    base = {
        "epochs": 10,
        "patience": None,
        "batch_size": 8,
        "optimizer": "adamw",
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "schedule": "constant",
    }
    return OptimizationParams(**base | changes)


def network():
    """Return a network whose parameters have four, two and one dimensions."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(144, 3)
    return nn.Sequential(*layers)


def backward(model, step):
    """Compute gradients for a batch that depends on `step`."""
    random = torch.Generator().manual_seed(step)
    outputs = model(torch.rand(8, 1, 8, 8, generator=random))
    nn.functional.cross_entropy(outputs, torch.arange(8) % 3).backward()


def identical(first, second):
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def rates(chosen, steps_per_epoch):
    steps = chosen.epochs * steps_per_epoch
    return [learning_rate_at(chosen, step, steps_per_epoch) for step in range(steps)]


def rates_of(make_scheduler, steps):
    """Return the learning rates that a scheduler of torch sets before each step."""
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = make_scheduler(optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def reference(name, parameters, decay):
    """Create the optimizers of torch directly."""
    common = {"lr": RATE, "weight_decay": decay}
    if name == "muon":
        matrices = [p for p in parameters if p.ndim == 2]
        others = [p for p in parameters if p.ndim != 2]
        muon = optim.Muon(matrices, momentum=0.9, adjust_lr_fn="match_rms_adamw", **common)
        return [muon, optim.AdamW(others, fused=True, **common)]
    kinds = {
        "adam": (optim.Adam, {"fused": True}),
        "adamw": (optim.AdamW, {"fused": True}),
        "adamax": (optim.Adamax, {}),
        "adagrad": (optim.Adagrad, {"fused": True}),
        "radam": (optim.RAdam, {}),
        "nadam": (optim.NAdam, {}),
        "sgd": (optim.SGD, {"momentum": 0.9, "fused": True}),
        "rmsprop": (optim.RMSprop, {}),
    }
    kind, options = kinds[name]
    return [kind(parameters, **common, **options)]


def test_every_optimizer_of_the_parameters_exists():
    assert set(OPTIMIZERS) == set(get_args(Optimizer))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_reduces_a_convex_loss(name):
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    inputs, targets = torch.randn(64, 3), torch.randn(64, 1)
    optimization = Optimization(settings(optimizer=name), layer, 10)

    losses = []
    for _ in range(50):
        loss = nn.functional.mse_loss(layer(inputs), targets)
        loss.backward()
        optimization.step()
        losses.append(loss.item())

    assert losses[-1] < losses[0]
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_step_is_bit_identical_to_that_of_torch(name):
    for decay in (0.0, 0.1):
        ours, theirs = network(), network()
        optimization = Optimization(settings(optimizer=name, weight_decay=decay), ours, 10)
        optimizers = reference(name, list(theirs.parameters()), decay)

        for step in range(5):
            backward(ours, step)
            optimization.step()
            backward(theirs, step)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

            assert identical(ours, theirs)


def test_momentum_and_nesterov_are_those_of_sgd():
    for nesterov in (False, True):
        ours, theirs = network(), network()
        chosen = settings(optimizer="sgd", momentum=0.5, nesterov=nesterov)
        optimization = Optimization(chosen, ours, 10)
        options = {"momentum": 0.5, "nesterov": nesterov, "fused": True}
        optimizer = optim.SGD(theirs.parameters(), RATE, **options)

        for step in range(3):
            backward(ours, step)
            optimization.step()
            backward(theirs, step)
            optimizer.step()
            optimizer.zero_grad()

        assert identical(ours, theirs)


def test_muon_updates_matrices_and_adamw_the_other_parameters():
    model = network()
    muon, adamw = Optimization(settings(optimizer="muon"), model, 10).optimizers

    assert isinstance(muon, optim.Muon)
    assert isinstance(adamw, optim.AdamW)
    assert [p.ndim for p in muon.param_groups[0]["params"]] == [2]
    assert [p.ndim for p in adamw.param_groups[0]["params"]] == [4, 1, 1, 1, 1]


def test_a_step_clears_the_gradients():
    model = network()
    optimization = Optimization(settings(), model, 10)
    backward(model, 0)

    optimization.step()

    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_parameters_are_not_updated():
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    optimization = Optimization(settings(optimizer="sgd", weight_decay=0.1, l1=0.1), model, 10)

    backward(model, 0)
    optimization.step()

    updated = [
        p for optimizer in optimization.optimizers for p in optimizer.param_groups[0]["params"]
    ]
    assert len(updated) == 4
    assert torch.equal(model[0].weight, before)


def test_the_l1_gradient_equals_that_of_autograd():
    ours, theirs = network(), network()
    backward(ours, 0)
    backward(theirs, 0)
    add_l1_gradient(list(ours.parameters()), 0.3)
    (0.3 * sum(parameter.abs().sum() for parameter in theirs.parameters())).backward()

    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-7)


def test_l1_is_applied_in_each_step():
    ours, theirs = network(), network()
    optimization = Optimization(settings(optimizer="sgd", l1=0.3), ours, 10)
    optimizer = optim.SGD(theirs.parameters(), RATE, momentum=0.9, fused=True)

    backward(ours, 0)
    optimization.step()
    backward(theirs, 0)
    add_l1_gradient(list(theirs.parameters()), 0.3)
    optimizer.step()

    assert identical(ours, theirs)


def test_gradients_are_clipped_like_in_torch():
    ours, theirs = network(), network()
    optimization = Optimization(settings(optimizer="sgd", clip_norm=0.01), ours, 10)
    optimizer = optim.SGD(theirs.parameters(), RATE, momentum=0.9, fused=True)

    backward(ours, 0)
    optimization.step()
    backward(theirs, 0)
    assert nn.utils.clip_grad_norm_(theirs.parameters(), 0.01) > 0.01
    optimizer.step()

    assert identical(ours, theirs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_restored_optimizers_continue_bit_identically(name, tmp_path):
    chosen = settings(optimizer=name, weight_decay=0.1, schedule="one_cycle", epochs=1)
    first, second = network(), network()
    one = Optimization(chosen, first, 6)
    for step in range(3):
        backward(first, step)
        one.step()
    torch.save([one.state_dict(), first.state_dict()], tmp_path / "state.pt")

    other = Optimization(chosen, second, 6)
    state, weights = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(state)
    second.load_state_dict(weights)
    for step in range(3, 6):
        for model, optimization in ((first, one), (second, other)):
            backward(model, step)
            optimization.step()

    assert identical(first, second)
    assert one.learning_rate == other.learning_rate


def test_one_cycle_equals_one_cycle_lr_of_torch():
    for steps_per_epoch, warmup in itertools.product((1, 7, 100), (None, 0.1, 0.5, 0.9)):
        chosen = settings(schedule="one_cycle", warmup_fraction=warmup, epochs=20)
        steps = 20 * steps_per_epoch
        make_scheduler = partial(
            optim.lr_scheduler.OneCycleLR,
            max_lr=RATE,
            total_steps=steps,
            pct_start=warmup or 0.3,
            cycle_momentum=False,
        )
        expected = rates_of(make_scheduler, steps)

        assert rates(chosen, steps_per_epoch) == pytest.approx(expected, rel=1e-9)


def test_cosine_equals_cosine_annealing_lr_of_torch():
    for steps_per_epoch in (1, 7):
        steps = 10 * steps_per_epoch
        expected = rates_of(partial(optim.lr_scheduler.CosineAnnealingLR, T_max=steps), steps)

        assert rates(settings(schedule="cosine"), steps_per_epoch) == pytest.approx(expected)


def test_step_equals_step_lr_of_torch():
    chosen = settings(schedule="step", step_epochs=3, step_factor=0.2)
    for steps_per_epoch in (1, 7):
        make_scheduler = partial(
            optim.lr_scheduler.StepLR, step_size=3 * steps_per_epoch, gamma=0.2
        )
        expected = rates_of(make_scheduler, 10 * steps_per_epoch)

        assert rates(chosen, steps_per_epoch) == pytest.approx(expected)


def test_constant_is_constant():
    assert set(rates(settings(schedule="constant"), 7)) == {RATE}


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_the_warmup_increases_linearly_to_the_peak(schedule):
    values = rates(settings(schedule=schedule, warmup_fraction=0.2, epochs=5), 10)
    warmup, after = values[:10], values[10:]
    increases = [later - earlier for earlier, later in itertools.pairwise([0.0, *warmup, RATE])]

    assert increases == pytest.approx([RATE / 11] * 11)
    assert after[0] == RATE
    assert max(values) == RATE


def test_schedules_are_defined_for_very_short_trainings():
    for schedule, warmup, epochs in itertools.product(
        ("one_cycle", "cosine", "step", "constant"), (None, 0.0, 0.3, 0.99), (1, 2, 3)
    ):
        values = rates(settings(schedule=schedule, warmup_fraction=warmup, epochs=epochs), 1)

        assert all(0 < rate <= RATE for rate in values), (schedule, warmup, epochs, values)


def test_the_recorded_learning_rate_is_that_of_the_last_step():
    model = network()
    optimization = Optimization(settings(schedule="cosine"), model, 10)

    for step in range(4):
        backward(model, step)
        optimization.step()

        assert optimization.learning_rate == optimization.rate_at(step)
        assert optimization.optimizers[0].param_groups[0]["lr"] == optimization.rate_at(step)
