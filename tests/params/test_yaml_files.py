"""YAML read for values alone says the same as YAML read with its lines."""

import pytest

from latentlab.common.errors import ParamsError
from latentlab.params.yaml_io import read_plain, read_yaml

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


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "gate.yaml"])
def test_files_of_the_repository_read_the_same(name, repository):
    assert read_plain(repository / name) == read_yaml(repository / name)


def test_scalars_are_of_yaml_1_2(tmp_path):
    path = tmp_path / "scalars.yaml"
    path.write_text(SCALARS, encoding="utf-8")

    read = read_plain(path)
    assert read == read_yaml(path)
    assert (read["word"], read["leading"], read["small"]) == ("yes", 10, 1e-4)


@pytest.mark.parametrize("text", ["a: [1", "a: 1\na: 2", "- a", "", "a: 2001-99-99"])
def test_what_is_wrong_is_said_alike(text, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    said = []
    for read in (read_plain, read_yaml):
        with pytest.raises(ParamsError) as refused:
            read(path)
        said.append(str(refused.value))

    assert said[0] == said[1]
    assert str(path) in said[0]
