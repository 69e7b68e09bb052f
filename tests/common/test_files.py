import hashlib
import json

import pytest

from latentlab.common.files import (
    atomic_path,
    hash_tree,
    read_json,
    sha256_of,
    write_csv,
    write_json,
    write_text,
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "metrics.json"


def is_alone(target):
    """Return whether the folder of the target contains no other file."""
    return list(target.parent.iterdir()) == [target]


def test_missing_folders_are_created(target):
    write_text(target, "Ä\n")

    assert target.read_bytes() == "Ä\n".encode()
    assert is_alone(target)


def test_the_old_content_remains_until_the_new_one_is_complete(target):
    write_text(target, "old")

    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"

    assert target.read_text() == "new"
    assert is_alone(target)


def write_partially(target, error):
    with atomic_path(target) as temporary:
        temporary.write_text("partial")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_content_and_no_other_file(target, error):
    write_text(target, "old")

    with pytest.raises(error):
        write_partially(target, error)

    assert target.read_text() == "old"
    assert is_alone(target)


def test_an_exception_in_the_first_write_leaves_no_file(target):
    with pytest.raises(RuntimeError):
        write_partially(target, RuntimeError)

    assert list(target.parent.iterdir()) == []


def test_an_error_names_the_target_instead_of_the_temporary_file(target):
    target.mkdir(parents=True)

    with pytest.raises(IsADirectoryError) as caught:
        write_text(target, "new")

    assert caught.value.filename == str(target)


def test_the_temporary_file_has_the_folder_and_the_suffix_of_the_target(target):
    with atomic_path(target) as temporary:
        temporary.touch()

    assert temporary.parent == target.parent
    assert temporary.suffix == ".json"


def test_written_json_is_read_back(target):
    value = {"name": "Ä", "metrics": [1, 2.5, None, True], "nested": {"a": {}}}

    write_json(target, value)

    assert read_json(target) == value
    assert target.read_text().endswith("}\n")


def test_nan_and_infinity_are_not_written_as_json(target):
    write_json(target, {"mse": 1.0})

    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(target, {"mse": value})

    assert json.loads(target.read_text()) == {"mse": 1.0}
    assert is_alone(target)


def test_csv_has_a_header_and_one_line_per_row(target):
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]

    write_csv(target, rows)

    assert target.read_bytes() == b"epoch,loss\n1,0.5\n2,0.25\n"
    assert is_alone(target)


def test_csv_without_rows_has_a_header(target):
    write_csv(target, [], ["epoch", "loss"])

    assert target.read_bytes() == b"epoch,loss\n"


def test_csv_rows_with_different_keys_are_rejected_and_the_old_file_remains(target):
    write_csv(target, [{"a": 1}])

    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_csv(target, [{"a": 1}, {"b": 2}])

    assert target.read_bytes() == b"a\n1\n"
    assert is_alone(target)


def test_the_digest_of_a_file_is_sha_256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_the_digests_of_a_folder_cover_all_files_except_compiled_code(tmp_path):
    for name in ("b.py", "a/c.py", "__pycache__/b.pyc"):
        write_text(tmp_path / "code" / name, name)

    lines = hash_tree(tmp_path / "code")

    assert [line.split()[0] for line in lines] == ["code/a/c.py", "code/b.py"]
    assert hash_tree(tmp_path / "code" / "b.py") == [f"b.py {lines[1].split()[1]}"]
