import math
from pathlib import Path

import pytest
import torch

from latentlab.common.errors import EnvironmentProblem
from latentlab.training import checkpoint as module
from latentlab.training.checkpoint import Checkpoint, Stopwatch
from latentlab.training.distributed import ProcessGroup

STATE = {
    "model": {"weight": torch.arange(6.0).reshape(2, 3)},
    "ema": None,
    "history": [{"epoch": 1, "train/loss": 0.5}],
    "best": (1, math.inf, {"weight": torch.ones(2)}),
}
OWN = {"random": [torch.arange(4)]}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "stage-key" / "training.pt"


def write(path, state=STATE, own=OWN):
    """Write a checkpoint and return the content of its file."""
    Checkpoint(path).write(state, own)
    return path.read_bytes()


def test_a_checkpoint_returns_what_was_written(path):
    write(path)

    state, own = Checkpoint(path).read()

    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])
    assert state["ema"] is None
    assert state["history"] == STATE["history"]
    assert state["best"][:2] == (1, math.inf)
    assert torch.equal(own["random"][0], OWN["random"][0])


def test_before_the_first_write_there_is_no_checkpoint(path):
    assert Checkpoint(path).read() is None


def test_without_a_path_nothing_is_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint(seconds_between=0)

    checkpoint.write(STATE, OWN)

    assert not checkpoint.due()
    assert checkpoint.read() is None
    assert list(tmp_path.rglob("*")) == []


def test_each_process_reads_its_own_part(path, monkeypatch):
    monkeypatch.setattr(ProcessGroup, "all_gather", lambda group, own: [own, {"rank": 1}])
    Checkpoint(path, ProcessGroup(0, 2)).write({"history": []}, {"rank": 0})

    for rank in (0, 1):
        saved = Checkpoint(path, ProcessGroup(rank, 2)).read()
        assert saved == ({"history": []}, {"rank": rank})


def test_only_the_main_process_writes(path):
    group = ProcessGroup(1, 2)
    group.all_gather = lambda own: [own, own]

    Checkpoint(path, group).write(STATE, OWN)

    assert not path.exists()


def test_a_checkpoint_of_another_number_of_processes_is_ignored(path):
    write(path)

    assert Checkpoint(path, ProcessGroup(0, 2)).read() is None


def test_an_interrupted_write_leaves_the_previous_checkpoint(path, monkeypatch):
    before = write(path)

    def write_half(state, target):
        Path(target).write_bytes(before[: len(before) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(module.torch, "save", write_half)
    with pytest.raises(KeyboardInterrupt):
        write(path, {"history": []})

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_an_environment_problem(path, monkeypatch, message):
    def raise_disk_full(state, target):
        raise RuntimeError(
            "[enforce fail at inline_container.cc] . PytorchStreamWriter failed\n..."
        )

    monkeypatch.setattr(module.torch, "save", raise_disk_full)
    with pytest.raises(EnvironmentProblem) as raised:
        write(path)

    message("training/checkpoint not writable", raised.value)


def test_a_new_checkpoint_replaces_the_previous_one(path):
    write(path)
    write(path, {"history": [1, 2]}, {})

    assert Checkpoint(path).read() == ({"history": [1, 2]}, {})


def test_a_truncated_file_is_ignored(path):
    whole = write(path)
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])

        assert Checkpoint(path).read() is None, share


@pytest.mark.parametrize(
    "content",
    [b"hello world\n" * 5, bytes(2000), b"\x80", b"..", "\xe0\x8e".encode("latin-1") * 40],
    ids=["text", "zeros", "pickle header only", "empty pickle stack", "invalid UTF-8"],
)
def test_a_file_in_another_format_is_ignored(path, content):
    write(path)
    path.write_bytes(content)

    assert Checkpoint(path).read() is None


def test_damage_anywhere_in_the_file_raises_no_error(path):
    whole = write(path)
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for position in torch.randint(len(whole), (20,), generator=random).tolist():
            damaged[position] ^= 0xFF
        path.write_bytes(damaged)

        saved = Checkpoint(path).read()

        assert saved is None or len(saved) == 2


def test_code_in_a_file_is_not_executed(path):
    write(path, {"code": Path("anywhere")})

    assert Checkpoint(path).read() is None


def test_a_checkpoint_is_due_when_the_interval_has_passed_since_the_last_one(path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    checkpoint = Checkpoint(path, seconds_between=10)
    due = []
    for seconds in (0, 9.9, 0.1):
        now[0] += seconds
        due.append(checkpoint.due())
    checkpoint.write(STATE, OWN)
    due.append(checkpoint.due())

    assert due == [False, False, True, False]


def test_without_an_interval_a_checkpoint_is_always_due(path):
    checkpoint = Checkpoint(path, seconds_between=0)
    checkpoint.write(STATE, OWN)

    assert checkpoint.due()


def test_a_stopwatch_measures_laps_but_not_the_time_before_a_start(monkeypatch):
    now = 100.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    stopwatch = Stopwatch()
    now = 103.0
    stopwatch.start()
    now = 105.0

    stopwatch.lap()
    stopwatch.lap()
    assert stopwatch.seconds == 2.0
    now = 106.0
    stopwatch.lap()
    assert stopwatch.seconds == 3.0
    now = 120.0
    stopwatch.start()
    now = 121.0
    stopwatch.lap()
    assert stopwatch.seconds == 4.0
