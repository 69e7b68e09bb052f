"""Reading and writing YAML: the fast reader and the one with line numbers agree."""

import pytest

from latentlab.common.errors import ParamsError
from latentlab.params.fields import flatten
from latentlab.params.yaml_io import read_plain, read_yaml, write_yaml

SCALARS = """
small: 1e-4
octal: 0o10
leading: 010
word: yes
truth: true
sexagesimal: 12:30:45
day: 2001-01-01
nothing: ~
endless: .inf
hexadecimal: 0x1F
text: "1.0"
list: [1, 2.5, -0, {deep: café}]
"""
INVALID = {
    "list that is not closed": b"data:\n  name: [1, 2\n",
    "tab": b"data:\n\tname: x\n",
    "duplicate key": b"a: {b: 1}\na: {b: 2}\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "control character": b"a: 1\nb: \x01\n",
    "impossible date": b"a: 2024-13-45\n",
    "empty": b"",
    "list": b"- a\n- b\n",
    "text": b"text",
    "not UTF-8": b"name: \xff\xfe\n",
}


def test_files_of_the_repository_are_read_alike(repository):
    for name in ("params.yaml", "dvc.yaml", "gate.yaml"):
        assert read_plain(repository / name) == read_yaml(repository / name)


def test_scalars_follow_yaml_1_2(tmp_path):
    path = tmp_path / "scalars.yaml"
    path.write_text(SCALARS, encoding="utf-8")

    document = read_plain(path)

    assert document == read_yaml(path)
    assert (document["word"], document["leading"], document["small"]) == ("yes", 10, 1e-4)


def test_invalid_files_give_the_same_error_with_the_line(tmp_path, message):
    path = tmp_path / "params.yaml"
    for name, content in INVALID.items():
        path.write_bytes(content)
        for read in (read_plain, read_yaml):
            with pytest.raises(ParamsError) as caught:
                read(path)
            message(f"params/yaml: {name}", caught.value)


def test_a_missing_file(tmp_path, message):
    with pytest.raises(ParamsError) as caught:
        read_plain(tmp_path / "params.yaml")

    message("params/yaml: missing file", caught.value)


def test_a_byte_order_mark_is_ignored(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("\ufeffname: digits\n", encoding="utf-8")

    assert read_plain(path) == read_yaml(path) == {"name": "digits"}


def test_innermost_collections_are_written_on_one_line(tmp_path):
    write_yaml(tmp_path / "tree.yaml", {"z": [1, 2], "a": {"b": {"c": 1}}})

    assert (tmp_path / "tree.yaml").read_text() == "z: [1, 2]\na:\n  b: {c: 1}\n"


def test_nested_mappings_are_flattened_to_paths():
    tree = {"a": {"b": 1, "c": {"d": [2]}}, "e": {}}

    assert flatten(tree) == {"a.b": 1, "a.c.d": [2]}
    assert flatten(tree, "stage/", "/") == {"stage/a/b": 1, "stage/a/c/d": [2]}


def test_a_search_space_is_one_value():
    space = {"train.learning_rate": {"type": "float", "low": 0.1, "high": 1.0}}

    assert flatten({"search": {"space": space}}) == {"search.space": space}
    assert flatten({"finetune": {"search": {"space": space}}}) == {"finetune.search.space": space}
    assert flatten({"denoise": {"space": {"epochs": 3}}}) == {"denoise.space.epochs": 3}
