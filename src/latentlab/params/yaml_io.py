"""Reading and writing YAML files; what cannot be read ends in one message with the line."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from latentlab.common.errors import ParamsError
from latentlab.common.files import atomic_path


def read_yaml(path: Path) -> CommentedMap:
    """Parse a YAML 1.2 mapping, keeping comments and line numbers."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run inside a latentlab repository") from None
    except UnicodeDecodeError as broken:
        raise ParamsError(f"{path} is not UTF-8 text: {broken}") from None
    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as broken:
        line = broken.problem_mark.line + 1 if broken.problem_mark else 1
        # that of a duplicate key is all that stands under it
        problem = str(broken.problem).partition(" with value ")[0]
        raise ParamsError(f"{path}:{line}: not valid YAML: {problem}") from None
    except ReaderError as broken:
        line = text.count("\n", 0, broken.position) + 1
        raise ParamsError(f"{path}:{line}: not valid YAML: {broken.reason}") from None
    except (YAMLError, ValueError) as broken:  # an impossible date is a plain ValueError
        raise ParamsError(f"{path}: not valid YAML: {broken}") from None
    if not isinstance(document, CommentedMap):
        raise ParamsError(f"{path}: must be a mapping of names to values, such as `name: value`")
    return document


def read_plain(path: Path) -> dict[str, Any]:
    """Parse a YAML 1.2 mapping without comments and line numbers, in a tenth of the time.

    What is wrong with it is said by `read_yaml`.
    """
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return read_yaml(path)
    return document if isinstance(document, dict) else read_yaml(path)


def write_yaml(target: Path, tree: dict[str, Any]) -> None:
    """Write a mapping atomically, innermost lists and mappings on one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
