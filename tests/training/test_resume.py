"""An interrupted and resumed training ends bit-identical to an uninterrupted one.

Run as a script, this file trains one network to the end: that is the process which the slow tests
kill.
"""

import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import torch

from latentlab.common.errors import TrainingDiverged
from latentlab.data.corruption import Corruption, CorruptionSpec
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
from latentlab.training import gan, loop
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.gan import AdversarialTraining
from latentlab.training.loop import Training
from latentlab.training.pruning import plain_weights

CPU = torch.device("cpu")
STEPS = 4
"""Steps per epoch."""

PRUNED = {"prune_fraction": 0.3, "prune_epochs": (1, 2)}
REGULARIZED = {"ema_decay": 0.8, "l1": 1e-4, "weight_decay": 0.01, "clip_norm": 0.1} | PRUNED
STOPPED = {"patience": 1, "min_delta": 0.05, "learning_rate": 0.5, "schedule": "constant"}
AUGMENTED = {
    "augmentation": (
        {"RandomHorizontalFlip": {"p": 0.5}},
        {"RandomCrop": {"padding": 1}},
        {"RandomAffine": {"degrees": 10}},
        {"RandomErasing": {}},
        {"ColorJitter": {"brightness": 0.2}},
    )
}
CASES = {
    # model class, settings, architecture
    "autoencoder": (Autoencoder, {}, {}),
    "dropout": (Autoencoder, {}, {"dropout": 0.2}),
    "batch norm": (Autoencoder, {}, {"batch_norm": True}),
    "pruning": (Autoencoder, PRUNED, {"upsampling": "transposed"}),
    "ema": (Autoencoder, PRUNED | {"ema_decay": 0.8}, {}),
    "everything": (Autoencoder, REGULARIZED, {"dropout": 0.2, "batch_norm": True}),
    "early stopping": (Autoencoder, STOPPED, {}),
    "muon": (Autoencoder, {"optimizer": "muon"}, {}),
    "vae": (Vae, REGULARIZED, {"dropout": 0.2}),
    "classifier": (Classifier, {}, {"dropout": 0.2}),
    "frozen encoder": (Classifier, PRUNED | {"ema_decay": 0.8}, {"batch_norm": True}),
    "unfrozen encoder": (Classifier, {}, {"dropout": 0.2}),
    "augmentation": (Classifier, AUGMENTED, {"dropout": 0.2}),
    "denoiser": (Denoiser, {"ema_decay": 0.8}, {"dropout": 0.2}),
    "u-net": (UNet, {}, {}),
    "gan": (Generator, {}, {}),
    "augmented gan": (Generator, AUGMENTED, {}),
    "evaluated gan": (Generator, {"ema_decay": 0.8, "eval_samples": 64}, {}),
}
NOISE = Corruption([CorruptionSpec("gaussian", 0.1, 0.5), CorruptionSpec("occlusion", 0.2, 0.2)])
SMOOTHED = ClassifierTrainingOptions(unfreeze_after=1, label_smoothing=0.1)
MODELS = {
    Autoencoder: lambda architecture, case: Autoencoder(architecture),
    Vae: lambda architecture, case: Vae(architecture, "gaussian"),
    Denoiser: lambda architecture, case: Denoiser(Autoencoder(architecture), NOISE),
    UNet: lambda architecture, case: Denoiser(UNet([1, 8, 8], [4, 6], "silu"), NOISE),
    Classifier: lambda architecture, case: Classifier(
        architecture,
        [8],
        3,
        freeze_encoder=case != "classifier",
        training_options=SMOOTHED if case == "unfrozen encoder" else None,
    ),
}


class Killed(Exception):
    """Raised in the place of a signal that kills the process."""


def images(count, seed):
    drawn = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=drawn, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 3)


def make(case, checkpoint=None, seed=0, epochs=3):
    """Create a training; everything random in it depends on `seed`."""
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
        networks = Generator((1, 8, 8), 6, 4), Discriminator((1, 8, 8), 4)
        evaluator = make_monitor() if "eval_samples" in changes else None
        settings = GanParams(**base | changes)
        return AdversarialTraining(*networks, settings, data, seed, CPU, checkpoint, evaluator)
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
    settings = OptimizationParams(**base | changes)
    return Training(model, settings, data, images(20, 1), seed, CPU, checkpoint)


def make_monitor():
    """Create an evaluator of generators that does not depend on the seed of the training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = ReferenceClassifier([1, 8, 8], [4], 8, 3)
    return GeneratorMonitor(classifier, images(80, 1), 64, 0, CPU)


def kill_at(training, call, monkeypatch):
    """Raise Killed at the start of a call of the loss, counted from 1, including validation."""
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
    """Return everything that a training produces: records, last weights and best weights."""
    if isinstance(training, AdversarialTraining):
        networks = (training.generator, training.discriminator, training.eval_model)
        frames = {"frames": torch.stack(training.frames)}
        last = [*(network.state_dict() for network in networks), frames]
    else:
        last = [plain_weights(training.model), plain_weights(training.eval_model)]
    # copies, because restore_best loads the best weights into the same tensors
    last = [{name: value.clone() for name, value in each.items()} for each in last]
    best = training.restore_best().state_dict()
    return {"history": training.history, "epoch": training.best_epoch, "last": last, "best": best}


def finish(training):
    for _ in training.epochs():
        pass
    return result(training)


def identical_weights(first, second):
    return all(
        set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(
            [*first["last"], first["best"]], [*second["last"], second["best"]], strict=True
        )
    )


def identical(first, second):
    return (
        identical_weights(first, second)
        and first["history"] == second["history"]
        and first["epoch"] == second["epoch"]
    )


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "training.pt"


@pytest.fixture
def check_every_step(monkeypatch):
    """Allow checkpoints after every step."""
    monkeypatch.setattr(loop, "STEPS_BETWEEN_CHECKS", 1)
    monkeypatch.setattr(gan, "STEPS_BETWEEN_CHECKS", 1)


@pytest.fixture(scope="module")
def uninterrupted():
    """The result of an uninterrupted training, computed once."""
    return cache(lambda case: finish(make(case)))


@pytest.mark.parametrize("case", CASES)
def test_a_training_killed_at_any_step_ends_bit_identically(
    case, path, check_every_step, uninterrupted, monkeypatch
):
    """Killed within the first epoch, before its validation, and after pruning."""
    for call in (3, 5, 9):
        path.unlink(missing_ok=True)
        training = make(case, Checkpoint(path, seconds_between=0))
        kill_at(training, call, monkeypatch)
        with pytest.raises(Killed):
            list(training.epochs())
        resumed = make(case, Checkpoint(path), seed=1)
        resumed.resume()

        assert identical(finish(resumed), uninterrupted(case)), call


@pytest.mark.parametrize(
    "case", ["everything", "early stopping", "vae", "unfrozen encoder", "evaluated gan"]
)
def test_a_training_killed_repeatedly_ends_bit_identically(
    case, path, check_every_step, uninterrupted, monkeypatch
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
    assert identical(result(training), uninterrupted(case))


@pytest.mark.parametrize(
    ("case", "epochs"), [("everything", 1), ("everything", 2), ("vae", 1), ("gan", 1), ("gan", 2)]
)
def test_a_training_stopped_between_epochs_ends_bit_identically(case, epochs, path, uninterrupted):
    running = make(case, Checkpoint(path, seconds_between=0)).epochs()
    for _ in range(epochs):
        next(running, None)
    resumed = make(case, Checkpoint(path), seed=1)
    resumed.resume()

    assert len(resumed.history) == epochs
    assert identical(finish(resumed), uninterrupted(case))


def test_steps_after_the_last_checkpoint_are_repeated_bit_identically(
    path, uninterrupted, monkeypatch
):
    monkeypatch.setattr(loop, "STEPS_BETWEEN_CHECKS", 3)
    for call in (5, 9, 13):
        path.unlink(missing_ok=True)
        training = make("everything", Checkpoint(path, seconds_between=0))
        kill_at(training, call, monkeypatch)
        with pytest.raises(Killed):
            list(training.epochs())
        resumed = make("everything", Checkpoint(path), seed=1)
        resumed.resume()

        assert identical(finish(resumed), uninterrupted("everything")), call


@pytest.mark.parametrize("case", ["everything", "early stopping", "gan"])
def test_a_finished_training_is_not_continued(case, path, uninterrupted):
    finish(make(case, Checkpoint(path)))
    resumed = make(case, Checkpoint(path), seed=1)
    resumed.resume()

    assert list(resumed.epochs()) == []
    assert identical(result(resumed), uninterrupted(case))


@pytest.mark.parametrize("case", ["everything", "vae", "gan"])
def test_without_a_checkpoint_training_starts_from_the_beginning(case, path, uninterrupted):
    training = make(case, Checkpoint(path))
    training.resume()

    assert training.history == []
    assert identical(finish(training), uninterrupted(case))


@pytest.mark.parametrize("case", ["everything", "vae", "gan"])
def test_writing_checkpoints_does_not_change_the_result(
    case, path, check_every_step, uninterrupted
):
    assert identical(finish(make(case, Checkpoint(path, seconds_between=0))), uninterrupted(case))


# the part of the state that is not restored, the case, and the call at which it is killed
NOT_RESTORED = [
    ("model", "dropout", 7),
    ("optimization", "autoencoder", 7),
    ("batches", "autoencoder", 7),
    ("random", "dropout", 7),
    ("random", "vae", 7),
    ("ema", "ema", 4),
    ("best", "early stopping", 7),
    ("generator", "gan", 11),
    ("discriminator", "gan", 11),
    ("generator_optimizer", "gan", 11),
    ("discriminator_optimizer", "gan", 11),
    ("batches", "gan", 11),
    ("frames", "gan", 11),
    ("ema", "evaluated gan", 11),
    ("best", "evaluated gan", 13),
]


def reset_part(part, checkpoint, new):
    """Replace one part of a checkpoint by that of the training `new`, which has not started."""
    initial = Checkpoint(checkpoint.with_suffix(".new"))
    new.checkpoint = initial
    new._write_checkpoint()
    (state, own), (new_state, new_own) = Checkpoint(checkpoint).read(), initial.read()
    assert part in state | own
    for values, new_values in ((state, new_state), (own, new_own)):
        values |= {name: new_values[name] for name in values if name == part}
    Checkpoint(checkpoint).write(state, own)


def resume_without(part, case, call, path, monkeypatch):
    training = make(case, Checkpoint(path, seconds_between=0))
    kill_at(training, call, monkeypatch)
    with pytest.raises(Killed):
        list(training.epochs())
    reset_part(part, path, make(case, seed=1))
    resumed = make(case, Checkpoint(path), seed=1)
    resumed.resume()
    return finish(resumed)


@pytest.mark.parametrize(("part", "case", "call"), NOT_RESTORED)
def test_every_part_of_the_state_affects_the_weights(
    part, case, call, path, check_every_step, uninterrupted, monkeypatch
):
    incomplete = resume_without(part, case, call, path, monkeypatch)

    assert not identical_weights(incomplete, uninterrupted(case))


@pytest.mark.parametrize(
    ("part", "case"),
    [
        ("means", "autoencoder"),
        ("means", "gan"),
        ("history", "autoencoder"),
        ("patience", "early stopping"),
    ],
)
def test_every_part_of_the_records_affects_the_history(
    part, case, path, check_every_step, uninterrupted, monkeypatch
):
    incomplete = resume_without(part, case, 9, path, monkeypatch)

    assert incomplete["history"] != uninterrupted(case)["history"]


def make_nan(training, call):
    """Replace the loss of a call by NaN and return a list of the losses before it."""
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


def error_of(training):
    with pytest.raises(TrainingDiverged) as caught:
        list(training.epochs())
    return str(caught.value)


@pytest.mark.parametrize(
    ("epoch", "step", "steps_between"), [(1, 2, 1), (2, 3, 1), (2, 3, 50), (3, 4, 50)]
)
def test_the_error_for_divergence_names_epoch_step_rate_and_last_finite_loss(
    epoch, step, steps_between, monkeypatch
):
    monkeypatch.setattr(loop, "STEPS_BETWEEN_CHECKS", steps_between)
    training = make("autoencoder")
    overall = (epoch - 1) * STEPS + step
    losses = make_nan(training, overall)

    assert error_of(training) == (
        f"the loss is not finite in epoch {epoch}, step {step} of {STEPS} (learning rate "
        f"{training.optimization.rate_at(overall - 1):.3g}, last finite loss "
        f"{losses[overall - 2]:.4g}); lower learning_rate"
    )


@pytest.mark.parametrize("case", ["autoencoder", "everything"])
def test_after_divergence_the_best_finite_weights_are_restored(case):
    training = make(case)
    make_nan(training, 2 * STEPS + 2)
    running = training.epochs()
    snapshots = [(next(running), plain_weights(training.eval_model)) for _ in range(2)]
    with pytest.raises(TrainingDiverged, match="epoch 3, step 2"):
        next(running)

    restored = training.restore_best().state_dict()

    best = snapshots[training.best_epoch - 1][1]
    assert all(torch.equal(restored[name], best[name]) for name in best)
    assert all(value.isfinite().all() for value in restored.values())


def test_a_resumed_training_diverges_with_the_same_error(path, check_every_step, monkeypatch):
    whole = make("autoencoder")
    make_nan(whole, 2 * STEPS + 3)
    expected = error_of(whole)

    training = make("autoencoder", Checkpoint(path, seconds_between=0))
    kill_at(training, 2 * (STEPS + 1) + 3, monkeypatch)
    with pytest.raises(Killed):
        list(training.epochs())
    resumed = make("autoencoder", Checkpoint(path), seed=1)
    resumed.resume()
    make_nan(resumed, 1)

    assert error_of(resumed) == expected


def test_diverged_weights_are_never_saved(path, check_every_step):
    training = make("autoencoder", Checkpoint(path, seconds_between=0))
    make_nan(training, STEPS + 2)
    error_of(training)

    state, _ = Checkpoint(path).read()

    assert all(value.isfinite().all() for value in state["model"].values())


def start(case, folder, left_out=""):
    """Start a process that trains and wait until it has resumed."""
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
def test_killed_processes_end_bit_identically(case, tmp_path):
    """Each process is killed six times at random moments, also while it writes a checkpoint."""
    resumed = train_with_kills(case, tmp_path / "killed", kills=6)

    assert identical(resumed, train_without_kill(case, tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "left_out"),
    [("everything", "optimization"), ("vae", "random"), ("gan", "discriminator")],
)
def test_killed_processes_that_do_not_restore_a_part_end_differently(case, left_out, tmp_path):
    """This shows that the previous test can fail."""
    resumed = train_with_kills(case, tmp_path / "killed", kills=2, left_out=left_out)

    assert not identical(resumed, train_without_kill(case, tmp_path / "whole"))


def train_with_kills(case, folder, kills, left_out=""):
    moments = random.Random(case)
    for _ in range(kills):
        process = start(case, folder, left_out)
        while not (folder / "training.pt").exists():
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before the kill"
        process.stdout.close()
        assert not (folder / "result.pt").exists()
    return train_without_kill(case, folder, left_out)


def main(case, folder, left_out):
    """Train to the end, for at least two seconds, with a checkpoint after every step.

    Resuming does not restore the part of the state that is `left_out`, if one is named.
    """
    torch.set_num_threads(1)
    loop.STEPS_BETWEEN_CHECKS = gan.STEPS_BETWEEN_CHECKS = 1
    training = make(case, Checkpoint(folder / "training.pt", seconds_between=0), epochs=60)
    if left_out and training.checkpoint.read():
        reset_part(left_out, folder / "training.pt", make(case, epochs=60))
    training.resume()
    print("training", flush=True)
    for _ in training.epochs():
        time.sleep(0.02)
    torch.save(result(training), folder / "result.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
