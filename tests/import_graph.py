"""The imports between modules of the package, read from their source."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "latentlab"

WITHOUT_EFFECT = {"cli", "commands", "common", "gate", "tracking"}
"""Packages that cannot change the result of a stage: infrastructure, tracking and the gate.

The tests check changes to them; retraining every model for a new error message would be pointless.
"""


def modules() -> list[Path]:
    """Return every module of the package except `__init__.py` files."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def name_of(file: Path) -> str:
    """Return the path of a module within the package, such as `models/vae.py`."""
    return file.relative_to(PACKAGE).as_posix()


def top_level(file: Path) -> str:
    """Return the package that a module belongs to; `cli` for `cli.py`."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def path_of(module: str) -> Path | None:
    """Return the source file of a module of the package, or None for any other module."""
    base = SOURCE / Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def direct_imports(file: Path) -> set[Path]:
    """Return the modules that `file` imports, also within functions, but not for type checking."""
    imported: set[Path] = set()
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
                imported.add(path)
    return {path for path in imported if path.name != "__init__.py"}


def determining_modules(stage: str) -> set[str]:
    """Return the modules that can change what a stage writes, relative to the root.

    Indirect imports count, but imports of packages WITHOUT_EFFECT are not followed.
    """
    folder = PACKAGE / "stages" / stage
    waiting = sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    reached = set(waiting)
    while waiting:
        imported = direct_imports(waiting.pop())
        new = {path for path in imported if top_level(path) not in WITHOUT_EFFECT} - reached
        reached |= new
        waiting += new
    return {path.relative_to(SOURCE.parent).as_posix() for path in reached}
