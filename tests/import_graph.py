"""Which modules of the package a module imports, directly or through others, read from source."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"

PLUMBING = {
    "cli",
    "errors",
    "fields",
    "files",
    "identity",
    "parallel",
    "params",
    "params_file",
    "progress",
    "project",
    "ranges",
    "runtime",
    "search_mistakes",
    "search_params",
    "tracking",
    "world",
    "yaml_files",
}
"""Modules that every stage passes through and that decide nothing about its results.

A change to them is checked by the tests; retraining everything for it would help nobody.
"""


def path_of(module: str) -> Path | None:
    """The source file of a dotted module name, None where it is not a module of ours."""
    base = SOURCE / Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def direct_imports(file: Path) -> set[Path]:
    """Files of the package that `file` imports anywhere, inside functions too.

    Not what only type checkers read.
    """
    found: set[Path] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith("latentlab.") and (path := path_of(name)):
                found.add(path)
    return {path for path in found if path.name != "__init__.py"}


def reachable_imports(file: Path) -> set[Path]:
    """Everything `file` imports, followed to the end."""
    reached: set[Path] = set()
    waiting = [file]
    while waiting:
        new = direct_imports(waiting.pop()) - reached
        reached |= new
        waiting += new
    return reached


def deciding_modules(stage: str) -> set[str]:
    """Source files, relative to the root, that can change what a stage writes."""
    file = SOURCE / "latentlab" / "stages" / f"{stage}.py"
    modules = reachable_imports(file) | {file}
    return {
        path.relative_to(SOURCE.parent).as_posix()
        for path in modules
        if path.relative_to(SOURCE / "latentlab").parts[0].removesuffix(".py") not in PLUMBING
    }
