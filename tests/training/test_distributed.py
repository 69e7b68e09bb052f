"""Training by two processes, compared with training by one process.

The processes import this file by its name, so the repository root has to be on their path. Most
tests share one start of the two processes, which train all cases one after the other.
"""

import itertools
import multiprocessing
import os
import signal
import warnings
from functools import cache

import pytest
import torch
from torch.distributed import TCPStore

from crafting import optimization_settings
from latentlab.common.errors import EnvironmentProblem, TrainingDiverged
from latentlab.common.processes import worker_context
from latentlab.data.image_set import ImageSet
from latentlab.models.autoencoder import Autoencoder
from latentlab.params.geometry import Architecture
from latentlab.training import loop
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.distributed import ProcessGroup
from latentlab.training.loop import Training
from latentlab.training.pruning import plain_weights, sparsity

CPU = torch.device("cpu")
PAIR = ProcessGroup(0, 2)
TIMEOUT = 120
"""Seconds after which the two processes are killed."""

SLOW = {"learning_rate": 0.001}
PRUNED = {"prune_fraction": 0.3, "prune_epochs": (1, 2)}
FAST = {"optimizer": "sgd", "learning_rate": 1e30}
IMPATIENT = {"epochs": 9, "patience": 2, "min_delta": 10.0}
AUGMENTED = {"augmentation": ({"RandomHorizontalFlip": {}}, {"RandomCrop": {"padding": 1}})}
EVERYTHING = PRUNED | {"ema_decay": 0.8, "l1": 1e-4, "weight_decay": 0.01, "clip_norm": 0.1}
EQUIVALENT = {
    # settings, number of images (in batches of 16)
    "plain": (SLOW, 50),
    "momentum": (SLOW | {"optimizer": "sgd", "nesterov": True, "schedule": "cosine"}, 50),
    "muon": (SLOW | {"optimizer": "muon"}, 48),
    "shards of different size": (SLOW, 51),
    "a last batch of one image": (SLOW, 49),
    "batches of one image": (SLOW | {"batch_size": 1, "epochs": 1}, 12),
    "fewer images than a batch": (SLOW, 5),
    "clipped": (SLOW | {"clip_norm": 0.01}, 50),
    "average": (SLOW | {"ema_decay": 0.8}, 50),
    "pruned": (SLOW | PRUNED, 50),
    "impatient": (SLOW | IMPATIENT, 50),
    "everything": (SLOW | EVERYTHING, 51),
    "augmentation": (SLOW | AUGMENTED, 51),
}
"""Cases in which two processes train like one, up to rounding."""
OTHER_CASES = {
    "dropout": (EVERYTHING, 51),
    "batch norm": (SLOW, 50),
    "batch norm, shards of different size": (SLOW, 51),
    "diverging": (FAST, 50),
    "corrupted": (SLOW, 50),
}
CASES = EQUIVALENT | OTHER_CASES


def images(count, seed):
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2)


def make(case, group=None, checkpoint=None, seed=0):
    changes, count = CASES[case]
    torch.manual_seed(seed)
    model = Autoencoder(
        Architecture(
            (1, 8, 8),
            [4, 8],
            16,
            4,
            dropout=0.2 if case == "dropout" else 0.0,
            batch_norm=case.startswith("batch norm"),
            output="linear" if case == "diverging" else "sigmoid",
        )
    )
    settings = optimization_settings(**changes)
    return Training(model, settings, images(count, 0), images(20, 1), 0, CPU, checkpoint, group)


def finish(training):
    """Train to the end and return the results."""
    error = ""
    try:
        for _ in training.epochs():
            pass
    except TrainingDiverged as diverged:
        error = str(diverged)
    last = [plain_weights(training.model), plain_weights(training.eval_model)]
    best = {name: value.clone() for name, value in training.restore_best().state_dict().items()}
    return {
        "history": training.history,
        "best_epoch": training.best_epoch,
        "weights": [*last, best],
        "sparsity": sparsity(training.model),
        "error": error,
    }


def on_loss(training, call, act):
    """Call `act` on one loss; calls are counted from 1 and include validation."""
    terms_of, calls = training.model.loss_terms, iter(range(1, 1_000_000))

    def loss_terms(batch, labels):
        terms = terms_of(batch, labels)
        return act(terms) if next(calls) == call else terms

    training.model.loss_terms = loss_terms


def kill_this_process(terms):
    os.kill(os.getpid(), signal.SIGKILL)


def make_nan(terms):
    return terms | {"loss": terms["loss"] * float("nan")}


def run_rank(rank, port, cases, folder, checkpoint, killed_at, victims, strict):
    """Run one of the two processes, with the environment that `torchrun` would set."""
    warnings.simplefilter("error")
    if not strict:  # a performance hint, which another test checks
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    torch.set_num_threads(1)
    loop.STEPS_BETWEEN_CHECKS = 1
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    group = ProcessGroup.init(CPU)
    results = {}
    try:
        with group.running():
            for case in cases:
                results[case] = train(case, group, checkpoint, killed_at * (rank in victims))
    except EnvironmentProblem as problem:
        results = {"problem": str(problem)}
    torch.save(results, folder / f"{rank}.pt")


def train(case, group, checkpoint, killed_at):
    """Train a case in one process, which is killed at a call of the loss unless that is 0."""
    # the second process starts with other weights and draws other random numbers; but batches are
    # augmented as a whole, with the random numbers that stages draw equally in all processes
    seed = 0 if case == "augmentation" else group.rank
    training = make(case, group, Checkpoint(checkpoint, group, seconds_between=0), seed)
    training.resume()
    if killed_at:
        on_loss(training, killed_at, kill_this_process)
    if case == "corrupted" and group.rank == 1:
        on_loss(training, 3, make_nan)
    return finish(training)


def host(pipe, work):
    """Run `work` in two processes for every request from `pipe`.

    They are forked from this process because importing DistributedDataParallel takes seconds.
    """
    import torch._dynamo  # noqa: F401

    fork = multiprocessing.get_context("fork")
    while (arguments := pipe.recv()) is not None:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        both = [fork.Process(target=work, args=(rank, store.port, *arguments)) for rank in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join(TIMEOUT)
            process.kill()
            process.join()
        pipe.send([process.exitcode for process in both])


@pytest.fixture(scope="module")
def together(repository, tmp_path_factory):
    """Run cases in two processes and return the results of each that was not killed."""

    def run(*cases, checkpoint=None, killed_at=0, victims=(0, 1), strict=False):
        folder = tmp_path_factory.mktemp("together")
        pipe.send((cases, folder, checkpoint, killed_at, victims, strict))
        codes = pipe.recv()
        killed = victims if killed_at else ()
        assert set(codes) <= {0, -signal.SIGKILL}, "see the output of the processes"
        assert (-signal.SIGKILL in codes) == bool(killed)
        left = [rank for rank in range(2) if rank not in killed]
        return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in left]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repository)
        pipe, other_end = multiprocessing.Pipe()
        process = worker_context().Process(target=host, args=(other_end, run_rank))
        process.start()
        yield run
        pipe.send(None)
        process.join()


@pytest.fixture(scope="module")
def of_two(together):
    """The results of both processes for each case."""
    return together(*(case for case in CASES if case != "batch norm, shards of different size"))


@pytest.fixture(scope="module")
def of_one():
    """The results of a single process for a case, computed once."""
    return cache(lambda case: finish(make(case)))


def assert_close(history, expected):
    assert len(history) == len(expected)
    for record, other in zip(history, expected, strict=True):
        assert record == pytest.approx(other, rel=1e-4)


def identical(first, second):
    return first["history"] == second["history"] and identical_weights(first, second)


def identical_weights(first, second):
    return all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(first["weights"], second["weights"], strict=True)
    )


@pytest.fixture
def single(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return ProcessGroup.init(CPU)


def test_without_torchrun_the_group_has_one_process(single):
    assert (single.rank, single.world_size) == (0, 1)
    assert single.is_main
    assert not torch.distributed.is_initialized()


def test_torchrun_with_one_process_needs_no_communication(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")

    assert ProcessGroup.init(CPU).world_size == 1
    assert not torch.distributed.is_initialized()


def test_a_single_process_communicates_nothing(single):
    batch, labels, value = torch.rand(3, 1, 2, 2), torch.arange(3), object()
    model = make("plain").model
    model.loss_terms = lambda images, labels: (images, labels)

    shard = single.shard(batch, labels)
    assert torch.equal(shard.images, batch)
    assert torch.equal(shard.labels, labels)
    assert (shard.count, shard.weight) == (3, 1.0)
    assert single.data_parallel(model)(batch, labels) == (batch, labels)
    assert single.all_reduce(batch) is batch
    assert single.broadcast(value) is value
    assert single.all_gather(value) == [value]


def test_errors_of_other_origin_are_not_changed(single):
    with pytest.raises(RuntimeError, match="shapes"), single.running():
        raise RuntimeError("the shapes do not match")


def test_a_group_of_one_process_trains_bit_identically(single, of_one):
    assert identical(finish(make("everything", single)), of_one("everything"))


def test_shards_split_a_batch_evenly_and_their_weights_restore_its_mean():
    for size, count in itertools.product((2, 3, 4), (1, 2, 3, 5, 16)):
        batch, labels = torch.rand(count, 1, 2, 2), torch.arange(count)
        shards = [ProcessGroup(rank, size).shard(batch, labels) for rank in range(size)]

        counts = [shard.count for shard in shards]
        assert sum(counts) == count
        assert max(counts) - min(counts) <= 1
        used = torch.cat([shard.labels[: shard.count] for shard in shards])
        assert used.sort().values.tolist() == labels.tolist()
        for shard in shards:
            assert len(shard.images) == len(shard.labels) >= 1
            assert torch.equal(shard.images, batch[shard.labels])
        weighted = sum(shard.weight * shard.images.mean() for shard in shards) / size
        torch.testing.assert_close(weighted, batch.mean())


@pytest.mark.parametrize("case", EQUIVALENT)
def test_two_processes_train_like_one(case, of_one, of_two):
    """Both start from the weights of the first process."""
    expected, (first, second) = of_one(case), (results[case] for results in of_two)

    assert first["error"] == second["error"] == ""
    assert_close(first["history"], expected["history"])
    assert first["best_epoch"] == expected["best_epoch"]
    assert first["sparsity"] == pytest.approx(expected["sparsity"], abs=1e-6)
    for weights, others in zip(first["weights"], expected["weights"], strict=True):
        assert weights.keys() == others.keys()
        for name in weights:
            torch.testing.assert_close(weights[name], others[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("case", [*EQUIVALENT, "dropout"])
def test_both_processes_have_bit_identical_weights(case, of_two):
    first, second = (results[case] for results in of_two)

    assert first["history"]
    assert identical(first, second)
    assert first["best_epoch"] == second["best_epoch"]
    assert first["sparsity"] == second["sparsity"]


@pytest.mark.parametrize("case", ["plain", "pruned"])
def test_distributed_training_emits_no_warnings(case, together):
    together(case, strict=True)


def test_the_cases_have_the_effect_that_their_names_say(of_one):
    plain = of_one("plain")

    for case in ("clipped", "average", "pruned"):
        assert not identical_weights(of_one(case), plain), case
    assert len(of_one("impatient")["history"]) == 3
    assert of_one("pruned")["sparsity"] == pytest.approx(0.51, abs=0.01)


def test_each_process_draws_its_own_random_numbers(of_one, of_two):
    """Only with dropout the result of two processes differs from that of one."""
    of_both, single = (each["history"][-1] for each in (of_two[0]["dropout"], of_one("dropout")))

    assert of_both != pytest.approx(single, rel=1e-4)


@pytest.mark.parametrize("case", ["diverging", "corrupted"])
def test_divergence_stops_both_processes_with_the_same_error(case, of_two):
    """Also if only the loss of one process is not finite."""
    first, second = (results[case] for results in of_two)

    step = {"diverging": 2, "corrupted": 3}[case]
    assert f"the loss is not finite in epoch 1, step {step} of 4" in first["error"]
    assert first["error"] == second["error"]
    assert first["history"] == second["history"] == []


def test_the_error_for_divergence_is_that_of_a_single_process(of_one, of_two):
    assert of_two[0]["diverging"]["error"] == of_one("diverging")["error"]


def test_with_batch_norm_both_processes_have_identical_parameters(of_two):
    """A last batch of two images is skipped because one image per process has no variance."""
    first, second = (results["batch norm"] for results in of_two)

    assert first["history"] == second["history"]
    assert first["history"][-1]["train/loss"] < first["history"][0]["train/loss"]
    for one, other in zip(first["weights"], second["weights"], strict=True):
        for name in one:
            if "running" not in name and "num_batches" not in name:
                assert torch.equal(one[name], other[name]), name


def test_with_batch_norm_shards_of_one_image_are_skipped(together):
    """A last batch of three images would give one process two images and the other one."""
    case = "batch norm, shards of different size"
    first, second = (results[case] for results in together(case))

    assert len(first["history"]) == 3
    assert first["history"] == second["history"]


def test_two_processes_that_were_killed_twice_end_bit_identically(together, of_two, tmp_path):
    """Killed in the first and, after pruning, in the second epoch; with dropout per process."""
    path = tmp_path / "training.pt"
    together("dropout", checkpoint=path, killed_at=3)
    state, _ = Checkpoint(path, PAIR).read()
    assert state["history"] == []
    together("dropout", checkpoint=path, killed_at=5)
    state, _ = Checkpoint(path, PAIR).read()
    assert len(state["history"]) == 1
    assert 0 < state["batches"]["step"] < 4
    resumed = together("dropout", checkpoint=path)

    for results, expected in zip(resumed, of_two, strict=True):
        assert identical(results["dropout"], expected["dropout"])
        assert results["dropout"]["best_epoch"] == expected["dropout"]["best_epoch"]


def test_a_process_that_lost_the_other_reports_it(together, of_two, tmp_path, message):
    path = tmp_path / "training.pt"
    (left,) = together("plain", checkpoint=path, killed_at=6, victims=[1])

    message("training/process lost", left["problem"])
    for results, expected in zip(together("plain", checkpoint=path), of_two, strict=True):
        assert identical(results["plain"], expected["plain"])


def test_two_processes_start_over_from_the_checkpoint_of_one(together, of_one, tmp_path):
    path = tmp_path / "training.pt"
    list(make("plain", checkpoint=Checkpoint(path, seconds_between=0)).epochs(stop_epoch=1))

    first, second = (results["plain"] for results in together("plain", checkpoint=path))

    assert_close(first["history"], of_one("plain")["history"])
    assert identical(first, second)


def test_one_process_starts_over_from_the_checkpoint_of_two(together, of_one, tmp_path):
    """Two processes were killed in the middle of an epoch, after their shards of three batches."""
    path = tmp_path / "training.pt"
    together("plain", checkpoint=path, killed_at=4)
    assert Checkpoint(path, PAIR).read()[0]["batches"]["step"] == 3
    training = make("plain", checkpoint=Checkpoint(path))
    training.resume()
    assert training.batches.step == 0

    assert_close(finish(training)["history"], of_one("plain")["history"])
