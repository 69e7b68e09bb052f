"""Two processes that train one network together, beside one that trains it alone.

The processes import this file by its name, for which they need the root of the checkout. Where no
test needs more, they do all cases in one go.
"""

import multiprocessing
import os
import signal
import warnings

import pytest
import torch
from torch.distributed import TCPStore

from crafting import optimization_settings
from latentlab.common.errors import EnvironmentProblem, TrainingDiverged
from latentlab.common.processes import worker_context
from latentlab.data.image_set import ImageSet
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.inference import Means
from latentlab.params.geometry import Architecture
from latentlab.training import loop
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.distributed import ProcessGroup
from latentlab.training.loop import Training
from latentlab.training.pruning import plain_weights, sparsity

CPU = torch.device("cpu")
SECONDS = 120
"""How long two processes may take at most."""

SLOW = {"learning_rate": 0.001}
PRUNED = {"prune_fraction": 0.3, "prune_epochs": (1, 2)}
FAST = {"optimizer": "sgd", "learning_rate": 1e30}
IMPATIENT = {"epochs": 9, "patience": 2, "min_delta": 10.0}
EVERYTHING = PRUNED | {"ema_decay": 0.8, "l1": 1e-4, "weight_decay": 0.01, "clip_norm": 0.1}
ALIKE = {
    # how it is trained, on how many images, in batches of 16
    "plain": (SLOW, 50),
    "momentum": (SLOW | {"optimizer": "sgd", "nesterov": True, "schedule": "cosine"}, 50),
    "muon": (SLOW | {"optimizer": "muon"}, 48),
    "shares that differ": (SLOW, 51),
    "a rest of one image": (SLOW, 49),
    "batches of one image": (SLOW | {"batch_size": 1, "epochs": 1}, 12),
    "fewer images than a batch": (SLOW, 5),
    "clipped": (SLOW | {"clip_norm": 0.01}, 50),
    "average": (SLOW | {"ema_decay": 0.8}, 50),
    "pruned": (SLOW | PRUNED, 50),
    "impatient": (SLOW | IMPATIENT, 50),
    "everything": (SLOW | EVERYTHING, 51),
}
"""Two processes do these as one does, but for rounding."""
OTHERS = {
    "dropout": (EVERYTHING, 51),
    "batch norm": (SLOW, 50),
    "batch norm, shares that differ": (SLOW, 51),
    "diverging": (FAST, 50),
    "corrupted": (SLOW, 50),
}
CASES = ALIKE | OTHERS


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
    """Train to the end; all that is left then."""
    fault = ""
    try:
        for _ in training.epochs():
            pass
    except TrainingDiverged as diverged:
        fault = str(diverged)
    last = [plain_weights(training.model), plain_weights(training.eval_model)]
    kept = {name: value.clone() for name, value in training.restore_best().state_dict().items()}
    return {
        "history": training.history,
        "best_epoch": training.best_epoch,
        "weights": [*last, kept],
        "sparsity": sparsity(training.model),
        "fault": fault,
    }


def on_loss(training, call, act):
    """Have something done before a loss is computed; calls count from 1, validation included."""
    terms_of, calls = training.model.loss_terms, iter(range(1, 1_000_000))

    def loss_terms(batch, labels):
        terms = terms_of(batch, labels)
        return act(terms) if next(calls) == call else terms

    training.model.loss_terms = loss_terms


def be_killed(terms):
    os.kill(os.getpid(), signal.SIGKILL)


def spoil(terms):
    return terms | {"loss": terms["loss"] * float("nan")}


def take_part(rank, port, cases, folder, checkpoint, killed_at, victims, strict):
    """What one of two processes does: what `torchrun` tells it, and its share of each case."""
    warnings.simplefilter("error")
    if not strict:  # a test of its own looks for this one, which is about speed
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
    group = ProcessGroup.join(CPU)
    results = {}
    try:
        with group.at_work():
            for case in cases:
                results[case] = train(case, group, checkpoint, killed_at * (rank in victims))
    except EnvironmentProblem as problem:
        results = {"problem": str(problem)}
    torch.save(results, folder / f"{rank}.pt")


def train(case, group, checkpoint, killed_at):
    """The share of one process in a case; 0 where it is not killed."""
    kept = Checkpoint(checkpoint, seconds_between=0)
    # the second one starts with other weights, and draws other numbers later on
    training = make(case, group, kept, seed=group.rank)
    training.resume()
    if killed_at:
        on_loss(training, killed_at, be_killed)
    if case == "corrupted" and group.rank == 1:
        on_loss(training, 3, spoil)
    return finish(training)


def host(pipe, work):
    """Do work by two processes whenever asked; they are forked from this one for speed.

    What DistributedDataParallel imports takes seconds.
    """
    import torch._dynamo  # noqa: F401

    fork = multiprocessing.get_context("fork")
    while (asked := pipe.recv()) is not None:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        both = [fork.Process(target=work, args=(rank, store.port, *asked)) for rank in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join(SECONDS)
            process.kill()
            process.join()
        pipe.send([process.exitcode for process in both])


@pytest.fixture(scope="module")
def together(repository, tmp_path_factory):
    """Do cases by two processes; what both of them have at the end."""

    def run(*cases, checkpoint=None, killed_at=0, victims=(0, 1), strict=False):
        folder = tmp_path_factory.mktemp("together")
        pipe.send((cases, folder, checkpoint, killed_at, victims, strict))
        codes = pipe.recv()
        killed = victims if killed_at else ()  # of two, one may hear of the end of the other first
        assert set(codes) <= {0, -signal.SIGKILL}, "why is in what the processes said"
        assert (-signal.SIGKILL in codes) == bool(killed)
        left = [rank for rank in range(2) if rank not in killed]
        return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in left]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repository)
        pipe, other_end = multiprocessing.Pipe()
        process = worker_context().Process(target=host, args=(other_end, take_part))
        process.start()
        yield run
        pipe.send(None)
        process.join()


@pytest.fixture(scope="module")
def of_two(together):
    """What both processes have after each case."""
    return together(*(case for case in CASES if case != "batch norm, shares that differ"))


@pytest.fixture(scope="module")
def of_one():
    """What a single process has after a case, computed once."""
    known = {}

    def of(case):
        if case not in known:
            known[case] = finish(make(case))
        return known[case]

    return of


def assert_close(history, expected):
    assert len(history) == len(expected)
    for record, other in zip(history, expected, strict=True):
        assert record == pytest.approx(other, rel=1e-4)


def same(first, second):
    return first["history"] == second["history"] and same_weights(first, second)


def same_weights(first, second):
    return all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(first["weights"], second["weights"], strict=True)
    )


@pytest.fixture
def alone(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return ProcessGroup.join(CPU)


def test_without_torchrun_a_process_is_alone(alone):
    assert (alone.rank, alone.size) == (0, 1)
    assert alone.first
    assert not torch.distributed.is_initialized()


def test_one_process_of_torchrun_is_alone(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")

    assert ProcessGroup.join(CPU).size == 1
    assert not torch.distributed.is_initialized()


def test_alone_everything_stays_as_it_is(alone):
    batch, labels, value = torch.rand(3, 1, 2, 2), torch.arange(3), object()
    model = make("plain").model
    means = Means()
    means.add({"loss": torch.tensor(2.0)}, 4)

    shared, shared_labels, count = alone.share(batch, labels)
    assert torch.equal(shared, batch)
    assert torch.equal(shared_labels, labels)
    assert count == 3
    model.loss_terms = lambda images, labels: (images, labels)
    assert alone.loss_terms(model)(batch, labels) == (batch, labels)
    assert alone.total(batch) is batch
    assert alone.agree(value) is value
    assert alone.gather(value) == [value]
    assert alone.add_up(means).take() == {"loss": 2.0}


def test_an_error_of_another_kind_stays_as_it_is(alone):
    with pytest.raises(RuntimeError, match="shapes"), alone.at_work():
        raise RuntimeError("the shapes do not match")


def test_a_group_of_one_changes_no_bit_of_a_training(alone, of_one):
    assert same(finish(make("everything", alone)), of_one("everything"))


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_shares_are_a_whole_batch_in_parts_of_nearly_the_same_size(size, count):
    batch, labels = torch.rand(count, 1, 2, 2), torch.arange(count)
    shares = [ProcessGroup(rank, size).share(batch, labels) for rank in range(size)]

    counts = [share_count for _, _, share_count in shares]
    assert sum(counts) == count
    assert max(counts) - min(counts) <= 1
    seen = torch.cat([share_labels[:many] for _, share_labels, many in shares])
    assert seen.sort().values.tolist() == labels.tolist()
    for share, share_labels, _ in shares:
        assert len(share) == len(share_labels) >= 1
        assert torch.equal(share, batch[share_labels])


@pytest.mark.parametrize("case", ALIKE)
def test_two_processes_train_as_one_does(case, of_one, of_two):
    """The weights that both start with are those of the first."""
    expected, (first, second) = of_one(case), (results[case] for results in of_two)

    assert first["fault"] == second["fault"] == ""
    assert_close(first["history"], expected["history"])
    assert first["best_epoch"] == expected["best_epoch"]
    assert first["sparsity"] == pytest.approx(expected["sparsity"], abs=1e-6)
    for weights, others in zip(first["weights"], expected["weights"], strict=True):
        assert weights.keys() == others.keys()
        for name in weights:
            torch.testing.assert_close(weights[name], others[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("case", [*ALIKE, "dropout"])
def test_both_processes_have_the_same_bits(case, of_two):
    first, second = (results[case] for results in of_two)

    assert first["history"]
    assert same(first, second)
    assert first["best_epoch"] == second["best_epoch"]
    assert first["sparsity"] == second["sparsity"]


@pytest.mark.parametrize("case", ["plain", "pruned"])
def test_training_together_warns_of_nothing(case, together):
    together(case, strict=True)


def test_the_cases_do_what_they_are_named_after(of_one):
    plain = of_one("plain")

    for case in ("clipped", "average", "pruned"):
        assert not same_weights(of_one(case), plain), case
    assert len(of_one("impatient")["history"]) == 3
    assert of_one("pruned")["sparsity"] == pytest.approx(0.51, abs=0.01)


def test_each_process_draws_its_own_random_numbers(of_one, of_two):
    """Dropout alone tells two processes from one: it falls on other images."""
    of_both, alone = (each["history"][-1] for each in (of_two[0]["dropout"], of_one("dropout")))

    assert of_both != pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("case", ["diverging", "corrupted"])
def test_divergence_stops_both_with_the_same_error(case, of_two):
    """Also where the loss of one process alone is not finite."""
    first, second = (results[case] for results in of_two)

    step = {"diverging": 2, "corrupted": 3}[case]
    assert f"the loss is not finite in epoch 1, step {step} of 4" in first["fault"]
    assert first["fault"] == second["fault"]
    assert first["history"] == second["history"] == []


def test_divergence_is_told_as_by_one_process(of_one, of_two):
    assert of_two[0]["diverging"]["fault"] == of_one("diverging")["fault"]


def test_batch_norm_trains_the_same_parameters_in_both(of_two):
    """A rest of two images is left out: of one image for each there is no variance."""
    first, second = (results["batch norm"] for results in of_two)

    assert first["history"] == second["history"]
    assert first["history"][-1]["train/loss"] < first["history"][0]["train/loss"]
    for one, other in zip(first["weights"], second["weights"], strict=True):
        for name in one:
            if "running" not in name and "num_batches" not in name:
                assert torch.equal(one[name], other[name]), name


def test_batch_norm_takes_no_share_of_one_image(together):
    """A rest of three images gives one process two of them, and the other one."""
    case = "batch norm, shares that differ"
    first, second = (results[case] for results in together(case))

    assert len(first["history"]) == 3
    assert first["history"] == second["history"]


def test_killed_twice_two_processes_end_with_the_same_bits(together, of_two, tmp_path):
    """In the first epoch and, pruned already, in the second; each draws its own dropout."""
    path = tmp_path / "training.pt"
    together("dropout", checkpoint=path, killed_at=3)
    assert Checkpoint(path).read()["history"] == []
    together("dropout", checkpoint=path, killed_at=5)
    state = Checkpoint(path).read()
    assert len(state["history"]) == 1
    assert 0 < state["sweep"]["step"] < 4
    resumed = together("dropout", checkpoint=path)

    for results, expected in zip(resumed, of_two, strict=True):
        assert same(results["dropout"], expected["dropout"])
        assert results["dropout"]["best_epoch"] == expected["dropout"]["best_epoch"]


def test_a_process_that_lost_the_other_says_how_to_go_on(together, of_two, tmp_path):
    path = tmp_path / "training.pt"
    (left,) = together("plain", checkpoint=path, killed_at=6, victims=[1])

    assert left["problem"] == (
        "one of the 2 processes of this training was lost; start them again: "
        "they go on from the last checkpoint"
    )
    for results, expected in zip(together("plain", checkpoint=path), of_two, strict=True):
        assert same(results["plain"], expected["plain"])


def test_what_one_process_began_two_end(together, of_one, tmp_path):
    path = tmp_path / "training.pt"
    list(make("plain", checkpoint=Checkpoint(path, seconds_between=0)).epochs(stop_epoch=1))

    first, second = (results["plain"] for results in together("plain", checkpoint=path))

    assert_close(first["history"], of_one("plain")["history"])
    assert same(first, second)


def test_what_two_processes_began_one_ends(together, of_one, tmp_path):
    """It was killed in the middle of an epoch, of which each of the two has seen its share."""
    path = tmp_path / "training.pt"
    together("plain", checkpoint=path, killed_at=4)
    assert Checkpoint(path).read()["sweep"]["step"] == 3
    training = make("plain", checkpoint=Checkpoint(path))
    training.resume()

    assert_close(finish(training)["history"], of_one("plain")["history"])
