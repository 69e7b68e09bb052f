"""Reading and writing YAML files; errors give the file and the line."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from latentlab.common.errors import ParamsError
from latentlab.common.files import atomic_path


def read_yaml(path: Path) -> CommentedMap:
    """Parse a YAML 1.2 mapping with its comments and line numbers.

    Raises ParamsError if there is no such file, or if it is not a mapping in valid YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run latentlab inside its repository") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 text: {error}") from None
    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        # the problem of a duplicate key includes its whole value
        problem = str(error.problem).partition(" with value ")[0]
        if problem == "but found another document":
            raise ParamsError(f"{path}:{line}: a second document; remove the line `---`") from None
        raise ParamsError(f"{path}:{line}: not valid YAML: {problem}") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ParamsError(f"{path}:{line}: not valid YAML: {error.reason}") from None
    except (YAMLError, ValueError) as error:  # an impossible date is a plain ValueError
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(document, CommentedMap):
        raise ParamsError(f"{path}: must be a mapping of names to values, such as `name: value`")
    return document


def read_plain(path: Path) -> dict[str, Any]:
    """Parse a YAML 1.2 mapping without comments and line numbers, ten times faster.

    Raises the same errors as `read_yaml`.
    """
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return read_yaml(path)
    return document if isinstance(document, dict) else read_yaml(path)


def write_yaml(target: Path, tree: dict[str, Any]) -> None:
    """Write a mapping atomically, with the innermost lists and mappings on one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    # ruamel annotates the attribute by its initial value, None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
