"""A training that was killed and goes on ends with the bits of one that never was.

Run as a script, this file trains one network until it is done: the process that the slow test
kills.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from latentlab.common.errors import TrainingDiverged
from latentlab.data.corruption import Corruption, Kind
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.generator_monitor import GeneratorMonitor
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classification import ClassifierTrainingOptions
from latentlab.models.classifier import Classifier
from latentlab.models.denoiser import Denoiser
from latentlab.models.gan import Discriminator, Generator
from latentlab.models.reference import ReferenceClassifier
from latentlab.models.unet import UNet
from latentlab.models.vae import Vae
from latentlab.params.generators import GanParams
from latentlab.params.geometry import Architecture
from latentlab.params.networks import OptimizationParams
from latentlab.training import gan as adversarial
from latentlab.training import loop
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.gan import AdversarialTraining
from latentlab.training.loop import Training
from latentlab.training.pruning import plain_weights

CPU = torch.device("cpu")
STEPS = 4
"""Batches of an epoch."""

PRUNED = {"prune_fraction": 0.3, "prune_epochs": (1, 2)}
REGULARIZED = {"ema_decay": 0.8, "l1": 1e-4, "weight_decay": 0.01, "clip_norm": 0.1} | PRUNED
STOPPED = {"patience": 1, "min_delta": 0.05, "learning_rate": 0.5, "schedule": "constant"}
CASES = {
    # what is trained, its settings, its architecture
    "autoencoder": (Autoencoder, {}, {}),
    "dropout": (Autoencoder, {}, {"dropout": 0.2}),
    "batch norm": (Autoencoder, {}, {"batch_norm": True}),
    "pruning": (Autoencoder, PRUNED, {"upsampling": "transposed"}),
    "average": (Autoencoder, PRUNED | {"ema_decay": 0.8}, {}),
    "everything": (Autoencoder, REGULARIZED, {"dropout": 0.2, "batch_norm": True}),
    "early stopping": (Autoencoder, STOPPED, {}),
    "muon": (Autoencoder, {"optimizer": "muon"}, {}),
    "vae": (Vae, REGULARIZED, {"dropout": 0.2}),
    "classifier": (Classifier, {}, {"dropout": 0.2}),
    "frozen encoder": (Classifier, PRUNED | {"ema_decay": 0.8}, {"batch_norm": True}),
    "thawing encoder": (Classifier, {}, {"dropout": 0.2}),
    "denoiser": (Denoiser, {"ema_decay": 0.8}, {"dropout": 0.2}),
    "u-net": (UNet, {}, {}),
    "gan": (Generator, {}, {}),
    "watched gan": (Generator, {"ema_decay": 0.8, "eval_samples": 64}, {}),
}
SPOILT = Corruption([Kind("gaussian", 0.1, 0.5), Kind("occlusion", 0.2, 0.2)])
AUGMENTED = ClassifierTrainingOptions(unfreeze_after=1, label_smoothing=0.1, flip=True, shift=1)
MODELS = {
    Autoencoder: lambda architecture, case: Autoencoder(architecture),
    Vae: lambda architecture, case: Vae(architecture, "gaussian"),
    Denoiser: lambda architecture, case: Denoiser(Autoencoder(architecture), SPOILT),
    UNet: lambda architecture, case: Denoiser(UNet([1, 8, 8], [4, 6], "silu"), SPOILT),
    Classifier: lambda architecture, case: Classifier(
        architecture,
        [8],
        3,
        freeze_encoder=case != "classifier",
        training_options=AUGMENTED if case == "thawing encoder" else None,
    ),
}


class Killed(Exception):
    """What a kill is within one process."""


def images(count, seed):
    drawn = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=drawn, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 3)


def make(case, checkpoint=None, seed=0, epochs=3):
    """A training with fresh objects; all that a seed decides differs with it."""
    kind, changes, shape = CASES[case]
    torch.manual_seed(seed)
    data = images(STEPS * 16 - 6, 0)
    if kind is Generator:
        base = {
            "noise_dim": 6,
            "channels": 4,
            "epochs": epochs,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "adam_beta1": 0.5,
        }
        players = Generator((1, 8, 8), 6, 4), Discriminator((1, 8, 8), 4)
        monitor = watcher() if changes else None
        chosen = GanParams(**base | changes)
        return AdversarialTraining(*players, chosen, data, seed, CPU, checkpoint, monitor)
    architecture = Architecture([1, 8, 8], [4, 8], 16, 4, **shape)
    model = MODELS[kind](architecture, case)
    base = {
        "epochs": epochs,
        "patience": None,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "schedule": "one_cycle",
    }
    chosen = OptimizationParams(**base | changes)
    return Training(model, chosen, data, images(20, 1), seed, CPU, checkpoint)


def watcher():
    """What judges a generator after every epoch; a seed does not change it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        judge = ReferenceClassifier([1, 8, 8], [4], 8, 3)
    return GeneratorMonitor(judge, images(80, 1), 64, 0, CPU)


def kill_at(training, call, monkeypatch):
    """Raise Killed at the beginning of a call of the loss, counted from 1, validation included."""
    if isinstance(training, AdversarialTraining):
        owners = [(training, "step_discriminator"), (training, "step_generator")]
    else:
        owners = [(training.model, "loss_terms")]
        if training.ema is not None:
            owners.append((training.ema.module, "loss_terms"))
    calls = 0

    def counted(function):
        def wrapper(*arguments):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return function(*arguments)

        return wrapper

    for owner, name in owners:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


def result(training):
    """All that a training leaves: records, the last weights and those it keeps."""
    if isinstance(training, AdversarialTraining):
        players = (training.generator, training.discriminator, training.eval_model)
        frames = {"frames": torch.stack(training.frames)}
        last = [*(player.state_dict() for player in players), frames]
    else:
        last = [plain_weights(training.model), plain_weights(training.eval_model)]
    # copies, for the kept weights are put into the same tensors
    last = [{name: value.clone() for name, value in each.items()} for each in last]
    kept = training.restore_best().state_dict()
    return {"history": training.history, "epoch": training.best_epoch, "last": last, "kept": kept}


def finished(training):
    for _ in training.epochs():
        pass
    return result(training)


def same_weights(first, second):
    return all(
        set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(
            [*first["last"], first["kept"]], [*second["last"], second["kept"]], strict=True
        )
    )


def same(first, second):
    return (
        same_weights(first, second)
        and first["history"] == second["history"]
        and first["epoch"] == second["epoch"]
    )


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "training.pt"


@pytest.fixture
def often(monkeypatch):
    """Checkpoints may be written after every batch."""
    monkeypatch.setattr(loop, "STEPS_BETWEEN_CHECKS", 1)
    monkeypatch.setattr(adversarial, "STEPS_BETWEEN_CHECKS", 1)


@pytest.fixture(scope="module")
def uninterrupted():
    """The result of a case, computed once."""
    known = {}

    def of(case):
        if case not in known:
            known[case] = finished(make(case))
        return known[case]

    return of


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_batch_it_ends_with_the_same_bits(
    case, path, often, uninterrupted, monkeypatch
):
    """Within the first epoch, before its validation, and where it was pruned already."""
    for call in (3, 5, 9):
        path.unlink(missing_ok=True)
        training = make(case, Checkpoint(path, seconds_between=0))
        kill_at(training, call, monkeypatch)
        with pytest.raises(Killed):
            list(training.epochs())
        again = make(case, Checkpoint(path), seed=1)
        again.resume()

        assert same(finished(again), uninterrupted(case)), call


@pytest.mark.parametrize("case", CASES)
def test_killed_again_and_again_it_ends_with_the_same_bits(
    case, path, often, uninterrupted, monkeypatch
):
    kills = 0
    while True:
        training = make(case, Checkpoint(path, seconds_between=0), seed=kills)
        training.resume()
        kill_at(training, 4, monkeypatch)
        try:
            list(training.epochs())
            break
        except Killed:
            kills += 1

    assert kills >= 3
    assert same(result(training), uninterrupted(case))


@pytest.mark.parametrize(
    ("case", "epochs"), [("everything", 1), ("everything", 2), ("vae", 1), ("gan", 1), ("gan", 2)]
)
def test_stopped_between_epochs_it_ends_with_the_same_bits(case, epochs, path, uninterrupted):
    running = make(case, Checkpoint(path, seconds_between=0)).epochs()
    for _ in range(epochs):
        next(running, None)
    again = make(case, Checkpoint(path), seed=1)
    again.resume()

    assert len(again.history) == epochs
    assert same(finished(again), uninterrupted(case))


def test_a_checkpoint_older_than_the_kill_serves_too(path, uninterrupted, monkeypatch):
    monkeypatch.setattr(loop, "STEPS_BETWEEN_CHECKS", 3)
    for call in (5, 9, 13):
        path.unlink(missing_ok=True)
        training = make("everything", Checkpoint(path, seconds_between=0))
        kill_at(training, call, monkeypatch)
        with pytest.raises(Killed):
            list(training.epochs())
        again = make("everything", Checkpoint(path), seed=1)
        again.resume()

        assert same(finished(again), uninterrupted("everything")), call


@pytest.mark.parametrize("case", ["everything", "early stopping", "gan"])
def test_a_finished_training_is_not_gone_on_with(case, path, uninterrupted):
    finished(make(case, Checkpoint(path)))
    again = make(case, Checkpoint(path), seed=1)
    again.resume()

    assert list(again.epochs()) == []
    assert same(result(again), uninterrupted(case))


@pytest.mark.parametrize("case", ["everything", "vae", "gan"])
def test_without_a_checkpoint_it_begins_anew(case, path, uninterrupted):
    training = make(case, Checkpoint(path))
    training.resume()

    assert training.history == []
    assert same(finished(training), uninterrupted(case))


@pytest.mark.parametrize("case", ["everything", "vae", "gan"])
def test_writing_checkpoints_changes_nothing(case, path, often, uninterrupted):
    assert same(finished(make(case, Checkpoint(path, seconds_between=0))), uninterrupted(case))


# The left-out part; the case and the call at which it is killed. Each must be noticed.
LEFT_OUT = [
    ("model", "dropout", 7),
    ("optimization", "autoencoder", 7),
    ("sweep", "autoencoder", 7),
    ("random", "dropout", 7),
    ("random", "vae", 7),
    ("ema", "average", 4),
    ("best", "early stopping", 7),
    ("generator", "gan", 11),
    ("discriminator", "gan", 11),
    ("generator_optimizer", "gan", 11),
    ("discriminator_optimizer", "gan", 11),
    ("sweep", "gan", 11),
    ("frames", "gan", 11),
    ("ema", "watched gan", 11),
    ("best", "watched gan", 13),
]


def go_on_without(part, case, call, path, monkeypatch):
    training = make(case, Checkpoint(path, seconds_between=0))
    kill_at(training, call, monkeypatch)
    with pytest.raises(Killed):
        list(training.epochs())
    again = make(case, seed=1)
    state = Checkpoint(path).read()
    assert part in state
    again._restore(state | {part: again._state()[part]})
    return finished(again)


@pytest.mark.parametrize(("part", "case", "call"), LEFT_OUT)
def test_every_part_of_the_state_is_needed(
    part, case, call, path, often, uninterrupted, monkeypatch
):
    incomplete = go_on_without(part, case, call, path, monkeypatch)

    assert not same_weights(incomplete, uninterrupted(case))


@pytest.mark.parametrize(
    ("part", "case"),
    [
        ("means", "autoencoder"),
        ("means", "gan"),
        ("history", "autoencoder"),
        ("patience", "early stopping"),
    ],
)
def test_every_part_of_the_records_is_needed(part, case, path, often, uninterrupted, monkeypatch):
    incomplete = go_on_without(part, case, 9, path, monkeypatch)

    assert incomplete["history"] != uninterrupted(case)["history"]


def spoil(training, call):
    """Turn the loss of a call into NaN; the losses before it are noted."""
    terms_of, losses = training.model.loss_terms, []

    def loss_terms(batch, labels):
        terms = terms_of(batch, labels)
        if training.model.training:
            losses.append(terms["loss"].item())
            if len(losses) == call:
                terms["loss"] = terms["loss"] * float("nan")
        return terms

    training.model.loss_terms = loss_terms
    return losses


def fault_of(training):
    with pytest.raises(TrainingDiverged) as caught:
        list(training.epochs())
    return str(caught.value)


@pytest.mark.parametrize("between", [1, 50])
@pytest.mark.parametrize(("epoch", "step"), [(1, 2), (2, 3), (3, 4)])
def test_divergence_is_told_with_epoch_step_rate_and_last_finite_loss(
    epoch, step, between, monkeypatch
):
    monkeypatch.setattr(loop, "STEPS_BETWEEN_CHECKS", between)
    training = make("autoencoder")
    overall = (epoch - 1) * STEPS + step
    losses = spoil(training, overall)

    assert fault_of(training) == (
        f"the loss is not finite in epoch {epoch}, step {step} of {STEPS} (learning rate "
        f"{training.optimization.rate_at(overall - 1):.3g}, last finite loss "
        f"{losses[overall - 2]:.4g}); lower learning_rate"
    )


def test_divergence_at_the_very_first_step_has_no_finite_loss():
    training = make("autoencoder")
    spoil(training, 1)

    assert "epoch 1, step 1 of 4" in (fault := fault_of(training))
    assert "last finite loss none" in fault


@pytest.mark.parametrize("case", ["autoencoder", "everything"])
def test_the_weights_kept_at_divergence_are_the_best_before_it(case):
    training = make(case)
    spoil(training, 2 * STEPS + 2)
    running = training.epochs()
    snapshots = [(next(running), plain_weights(training.eval_model)) for _ in range(2)]
    with pytest.raises(TrainingDiverged, match="epoch 3, step 2"):
        next(running)

    kept = training.restore_best().state_dict()

    best = snapshots[training.best_epoch - 1][1]
    assert all(torch.equal(kept[name], best[name]) for name in best)
    assert all(value.isfinite().all() for value in kept.values())


def test_a_resumed_training_that_diverges_tells_the_same(path, often, monkeypatch):
    """It diverges again, and what it says does not depend on the kill."""
    whole = make("autoencoder")
    spoil(whole, 2 * STEPS + 3)
    expected = fault_of(whole)

    training = make("autoencoder", Checkpoint(path, seconds_between=0))
    kill_at(training, 2 * (STEPS + 1) + 3, monkeypatch)
    with pytest.raises(Killed):
        list(training.epochs())
    again = make("autoencoder", Checkpoint(path), seed=1)
    again.resume()
    spoil(again, 1)

    assert fault_of(again) == expected


def test_a_state_that_diverged_is_never_written(path, often):
    training = make("autoencoder", Checkpoint(path, seconds_between=0))
    spoil(training, STEPS + 2)
    fault_of(training)

    state = Checkpoint(path).read()

    assert all(value.isfinite().all() for value in state["model"].values())


def test_a_gan_that_diverges_keeps_the_last_finite_generator(monkeypatch):
    training = make("gan")
    running = training.epochs()
    next(running)
    finite = {name: value.clone() for name, value in training.generator.state_dict().items()}
    with torch.no_grad():
        next(training.discriminator.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingDiverged, match=r"epoch 2, step 1 of 4 \(learning rate 0\.001"):
        next(running)

    kept = training.restore_best().state_dict()
    assert all(torch.equal(kept[name], finite[name]) for name in finite)


def start(case, folder, left_out=""):
    """A process that trains; it is past its imports and its resume."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", __file__, case, str(folder), left_out],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "training\n"
    return process


def train_without_kill(case, folder, left_out=""):
    process = start(case, folder, left_out)
    assert process.wait(120) == 0
    process.stdout.close()
    return torch.load(folder / "result.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["everything", "vae", "classifier", "gan"])
def test_killed_processes_end_with_the_same_bits(case, tmp_path):
    """Six kills for each of the four, at moments drawn at random: writes are hit as well."""
    resumed = train_with_kills(case, tmp_path / "killed", kills=6)

    assert same(resumed, train_without_kill(case, tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "left_out"),
    [("everything", "optimization"), ("vae", "random"), ("gan", "discriminator")],
)
def test_killed_processes_that_forget_a_part_end_with_other_bits(case, left_out, tmp_path):
    """Otherwise the test above could not fail."""
    resumed = train_with_kills(case, tmp_path / "killed", kills=2, left_out=left_out)

    assert not same(resumed, train_without_kill(case, tmp_path / "whole"))


def train_with_kills(case, folder, kills, left_out=""):
    moments = random.Random(case)
    for _ in range(kills):
        process = start(case, folder, left_out)
        time.sleep(moments.uniform(0.0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it was done before the kill"
        process.stdout.close()
        assert not (folder / "result.pt").exists()
    return train_without_kill(case, folder, left_out)


def main(case, folder, left_out):
    """Train until done, two seconds at least, and keep the state after every batch.

    A resume forgets the part of the state that is `left_out`, if one is named.
    """
    torch.set_num_threads(1)
    loop.STEPS_BETWEEN_CHECKS = adversarial.STEPS_BETWEEN_CHECKS = 1
    training = make(case, Checkpoint(folder / "training.pt", seconds_between=0), epochs=60)
    fresh = training._state()
    if left_out and (state := training.checkpoint.read()):
        training._restore(state | {left_out: fresh[left_out]})
    else:
        training.resume()
    print("training", flush=True)
    for _ in training.epochs():
        time.sleep(0.02)
    torch.save(result(training), folder / "result.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
