import hashlib
import json

import pytest

from latentlab.common.files import (
    atomic_path,
    read_json,
    sha256_of,
    write_csv,
    write_json,
    write_text,
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "metrics.json"


def only(target):
    """Whether nothing but the target is in its folder."""
    return list(target.parent.iterdir()) == [target]


def test_folders_are_made_where_they_are_missing(target):
    write_text(target, "Ä\n")

    assert target.read_bytes() == "Ä\n".encode()
    assert only(target)


def test_the_old_file_is_there_until_the_new_one_is_whole(target):
    write_text(target, "old")

    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"

    assert target.read_text() == "new"
    assert only(target)


def write_half(target, problem):
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise problem


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_other(target, problem):
    write_text(target, "old")

    with pytest.raises(problem):
        write_half(target, problem)

    assert target.read_text() == "old"
    assert only(target)


def test_a_failure_of_a_first_write_leaves_nothing(target):
    with pytest.raises(RuntimeError):
        write_half(target, RuntimeError)

    assert list(target.parent.iterdir()) == []


def test_what_cannot_be_written_is_told_by_its_own_name(target):
    target.mkdir(parents=True)

    with pytest.raises(IsADirectoryError) as caught:
        write_text(target, "new")

    assert caught.value.filename == str(target)


def test_the_temporary_file_lies_beside_the_target_and_keeps_its_suffix(target):
    with atomic_path(target) as temporary:
        temporary.touch()

    assert temporary.parent == target.parent
    assert temporary.suffix == ".json"


def test_json_is_read_back_as_it_was_written(target):
    value = {"name": "Ä", "figures": [1, 2.5, None, True], "nested": {"a": {}}}

    write_json(target, value)

    assert read_json(target) == value
    assert target.read_text().endswith("}\n")


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_nan_and_no_infinity(target, figure):
    write_json(target, {"mse": 1.0})

    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"mse": figure})

    assert json.loads(target.read_text()) == {"mse": 1.0}
    assert only(target)


def test_csv_has_a_header_and_a_line_per_row(target):
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]

    write_csv(target, rows)

    assert target.read_bytes() == b"epoch,loss\n1,0.5\n2,0.25\n"
    assert only(target)


def test_csv_refuses_rows_of_other_keys_and_keeps_the_old_file(target):
    write_csv(target, [{"a": 1}])

    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_csv(target, [{"a": 1}, {"b": 2}])

    assert target.read_bytes() == b"a\n1\n"
    assert only(target)


def test_the_digest_is_sha_256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
