import math
from pathlib import Path

import pytest
import torch

from latentlab.training import checkpoint as module
from latentlab.training.checkpoint import Checkpoint

STATE = {
    "model": {"weight": torch.arange(6.0).reshape(2, 3)},
    "ema": None,
    "history": [{"epoch": 1, "train/loss": 0.5}],
    "best": (1, math.inf, {"weight": torch.ones(2)}),
}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "stage-key" / "training.pt"


def written(path, state=STATE):
    Checkpoint(path).write(state)
    return path.read_bytes()


def test_what_was_written_is_read(path):
    Checkpoint(path).write(STATE)

    state = Checkpoint(path).read()

    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])
    assert state["ema"] is None
    assert state["history"] == STATE["history"]
    assert state["best"][:2] == (1, math.inf)


def test_there_is_nothing_before_the_first_write(path):
    assert Checkpoint(path).read() is None


def test_without_a_path_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint(seconds_between=0)

    checkpoint.write(STATE)

    assert not checkpoint.due
    assert checkpoint.read() is None
    assert list(tmp_path.rglob("*")) == []


def test_an_interrupted_write_leaves_the_old_one(path, monkeypatch):
    before = written(path)

    def half(state, target):
        Path(target).write_bytes(before[: len(before) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(module.torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        Checkpoint(path).write({"history": []})

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_last_write_counts(path):
    checkpoint = Checkpoint(path)
    checkpoint.write(STATE)
    checkpoint.write({"history": [1, 2]})

    assert checkpoint.read() == {"history": [1, 2]}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_ignored(path, share):
    whole = written(path)
    path.write_bytes(whole[: int(len(whole) * share)])

    assert Checkpoint(path).read() is None


@pytest.mark.parametrize(
    "content",
    [b"hello world\n" * 5, bytes(2000), b"\x80", b"..", "\xe0\x8e".encode("latin-1") * 40],
    ids=["text", "zeros", "a head alone", "an empty stack", "no UTF-8"],
)
def test_a_file_that_is_none_is_ignored(path, content):
    written(path)
    path.write_bytes(content)

    assert Checkpoint(path).read() is None


def test_damage_anywhere_is_survived(path):
    whole = written(path)
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in torch.randint(len(whole), (20,), generator=random).tolist():
            damaged[place] ^= 0xFF
        path.write_bytes(damaged)

        state = Checkpoint(path).read()

        assert state is None or isinstance(state, dict)


def test_a_file_with_code_is_not_run(path):
    written(path, {"code": Path("anywhere")})

    assert Checkpoint(path).read() is None


def test_it_is_due_when_the_seconds_have_passed_since_the_last_write(path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    checkpoint = Checkpoint(path, seconds_between=10)
    due = []
    for seconds in (0, 9.9, 0.1):
        now[0] += seconds
        due.append(checkpoint.due)
    checkpoint.write(STATE)
    due.append(checkpoint.due)

    assert due == [False, False, True, False]


def test_with_no_seconds_between_it_is_always_due(path):
    checkpoint = Checkpoint(path, seconds_between=0)
    checkpoint.write(STATE)

    assert checkpoint.due
