import copy

import pytest
import torch
from torch import nn

from latentlab.data.image_set import ImageSet
from latentlab.models.autoencoder import Autoencoder
from latentlab.params.geometry import Architecture
from latentlab.params.networks import OptimizationParams
from latentlab.training.loop import Training
from latentlab.training.pruning import (
    copy_masks,
    make_pruning_permanent,
    plain_weights,
    prunable,
    prune_smallest,
    restore_masks,
    sparsity,
)


def images(count, seed):
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2)


def network(seed=0, **changes):
    torch.manual_seed(seed)
    shape = {"image_shape": [1, 8, 8], "channels": [4, 8], "hidden": 16, "latent_dim": 4}
    model = Autoencoder(Architecture(**shape | changes))
    return model.to(memory_format=torch.channels_last)


def magnitudes(model):
    """Return the magnitudes of all prunable weights as one vector."""
    return torch.cat([module.weight.detach().abs().flatten() for module in prunable(model)])


def train(model, steps=3):
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        model.train().loss_terms(images(16, 0).floats(), torch.zeros(16))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()


def training(**changes):
    base = {
        "epochs": 6,
        "patience": None,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "schedule": "constant",
        "prune_fraction": 0.3,
        "prune_epochs": (2, 4),
    }
    chosen = OptimizationParams(**base | changes)
    return Training(network(), chosen, images(50, 0), images(20, 1), 0, torch.device("cpu"))


def test_the_smallest_magnitudes_of_all_layers_are_pruned():
    for fraction in (0.1, 0.3, 0.9):
        model = network()
        before = magnitudes(model)
        count = round(fraction * len(before))
        smallest = torch.zeros(len(before), dtype=torch.bool)
        smallest[before.argsort()[:count]] = True

        prune_smallest(model, fraction)

        assert torch.equal(magnitudes(model), before.masked_fill(smallest, 0.0))
        assert sparsity(model) == count / len(before)
        shares = [float((module.weight == 0).float().mean()) for module in prunable(model)]
        assert max(shares) > min(shares)


def test_biases_and_normalization_layers_are_not_pruned():
    model = network(batch_norm=True)
    weights = {f"{name}.weight" for name, m in model.named_modules() if m in set(prunable(model))}
    before = {name: value.clone() for name, value in model.state_dict().items()}

    prune_smallest(model, 0.9)

    after = plain_weights(model)
    assert weights == {name for name in before if not torch.equal(before[name], after[name])}


def test_pruning_0_3_twice_gives_a_sparsity_of_0_51():
    model = network()
    prune_smallest(model, 0.3)
    train(model)
    prune_smallest(model, 0.3)

    assert sparsity(model) == pytest.approx(0.51, abs=1e-3)


def test_pruned_weights_stay_zero_while_the_others_are_trained():
    model = network()
    prune_smallest(model, 0.5)
    before = magnitudes(model)
    train(model)
    after = magnitudes(model)

    assert torch.equal(after[before == 0], torch.zeros(int((before == 0).sum())))
    assert not torch.equal(after, before)


def test_permanent_pruning_leaves_plain_parameters_with_zeros():
    plain, model = network(), network()
    prune_smallest(model, 0.5)
    train(model)
    count = sparsity(model)
    expected = plain_weights(model)
    outputs = model(images(8, 2).floats())

    make_pruning_permanent(model)

    state = model.state_dict()
    assert set(state) == set(plain.state_dict()) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert sparsity(model) == count
    assert torch.equal(model(images(8, 2).floats()), outputs)


def test_plain_weights_of_an_unpruned_network_are_a_copy_of_its_state():
    model = network()
    copied = plain_weights(model)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model.to_code.weight.zero_()

    assert all(torch.equal(copied[name], before[name]) for name in before)


def test_weights_and_masks_stay_channels_last_and_share_no_memory():
    """With another layout a convolution sums in another order; resuming would not be identical."""
    model, target = network(0), network(1)
    for _ in range(2):
        prune_smallest(model, 0.5)
        copy_masks(model, target)

    for module in [*prunable(model), *prunable(target)]:
        if module.weight_orig.ndim == 4:
            for tensor in (module.weight_orig, module.weight_mask):
                assert tensor.is_contiguous(memory_format=torch.channels_last)
        assert module.weight_orig.data_ptr() != module.weight_mask.data_ptr()


def test_pruning_keeps_the_parameter_objects_of_the_optimizer():
    model = network()
    before = {id(parameter) for parameter in model.parameters()}
    prune_smallest(model, 0.5)
    prune_smallest(model, 0.5)

    assert {id(parameter) for parameter in model.parameters()} == before


def test_masks_can_be_copied_to_another_network():
    source, target = network(0), network(1)
    before = plain_weights(target)
    for _ in range(2):
        prune_smallest(source, 0.5)
        copy_masks(source, target)

    for pruned, module in zip(prunable(source), prunable(target), strict=True):
        assert torch.equal(pruned.weight_mask, module.weight_mask)
    masks = {name: value for name, value in target.state_dict().items() if "_mask" in name}
    for name, value in plain_weights(target).items():
        assert torch.equal(value, before[name] * masks.get(f"{name}_mask", torch.ones(())))


def test_a_new_network_can_load_the_state_of_a_pruned_one():
    source, target = network(0), network(1)
    prune_smallest(source, 0.5)

    restore_masks(target, source.state_dict())
    target.load_state_dict(source.state_dict())

    assert torch.equal(target(images(8, 2).floats()), source(images(8, 2).floats()))
    assert [name for name, _ in target.named_parameters()] == [
        name for name, _ in source.named_parameters()
    ]


def test_an_unpruned_state_adds_no_masks():
    model = network()
    restore_masks(model, model.state_dict())

    assert not any("_mask" in name for name in model.state_dict())


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_training_prunes_after_prune_epochs_and_restores_fully_pruned_weights(ema_decay):
    pruned = training(ema_decay=ema_decay)
    shares = []
    for _ in pruned.epochs():
        shares.append(round(sparsity(pruned.eval_model), 2))
    model = pruned.restore_best()

    assert shares == [0.0, 0.3, 0.3, 0.51, 0.51, 0.51]
    assert pruned.best_epoch >= 4
    assert sparsity(model) == pytest.approx(0.51, abs=1e-3)
    assert set(model.state_dict()) == set(network().state_dict())


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_the_best_loss_is_that_of_the_pruned_weights(ema_decay):
    pruned = training(ema_decay=ema_decay)
    list(pruned.epochs())
    held_out = images(20, 1)

    with torch.no_grad():
        loss = pruned.restore_best().loss_terms(held_out.floats(), held_out.labels)["loss"]

    assert loss.item() == pytest.approx(pruned.best_loss, rel=1e-5)
    after = [record["validation/loss"] for record in pruned.history[3:]]
    assert pruned.best_loss == min(after)


def test_the_ema_has_the_same_masks_as_the_trained_weights():
    pruned = training(ema_decay=0.5, epochs=3, prune_epochs=(2,))
    list(pruned.epochs())

    for module, ema in zip(prunable(pruned.model), prunable(pruned.ema.module), strict=True):
        assert torch.equal(module.weight_mask, ema.weight_mask)
    assert not torch.equal(magnitudes(pruned.model), magnitudes(pruned.ema.module))


def test_without_a_fraction_nothing_is_pruned():
    whole = training(prune_fraction=0.0)
    list(whole.epochs())

    assert sparsity(whole.model) == 0.0
    assert not any("_mask" in name for name in whole.model.state_dict())


def test_pruning_resets_the_patience():
    """The loss of pruned weights is not compared with that of unpruned weights."""
    pruned = training(patience=3, min_delta=100.0, epochs=8, prune_epochs=(2,))
    list(pruned.epochs())

    assert len(pruned.history) == 5


def test_convolutions_transposed_convolutions_and_linear_layers_are_prunable():
    model = network(upsampling="transposed")

    assert {type(m) for m in prunable(model)} == {nn.Conv2d, nn.ConvTranspose2d, nn.Linear}


def test_frozen_layers_are_not_pruned():
    model = network()
    model.encoder.requires_grad_(False)

    prune_smallest(model, 0.5)

    assert not any("_mask" in name for name in model.encoder.state_dict())
    assert any("_mask" in name for name in model.decoder.state_dict())
