"""Which modules of the package a module imports, directly or through others, read from source."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"

PLUMBING = {
    "cli",
    "errors",
    "files",
    "identity",
    "parallel",
    "params",
    "params_file",
    "progress",
    "project",
    "tracking",
    "world",
}
"""Modules that every stage passes through and that decide nothing about its results.

A change to them is checked by the tests; retraining everything for it would help nobody. The values
that `params` lets through are deps of their own, so `params` itself is none, but for DECIDING.
"""

DECIDING = {"params/ranges.py", "params/studies.py"}
"""Modules of PLUMBING that decide all the same: what values a study draws, and its rungs."""


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


def is_plumbing(file: Path) -> bool:
    """Whether a file belongs to a module of PLUMBING, and not to DECIDING."""
    inside = file.relative_to(SOURCE / "latentlab")
    return inside.parts[0].removesuffix(".py") in PLUMBING and inside.as_posix() not in DECIDING


def deciding_imports(file: Path) -> set[Path]:
    """Everything `file` imports, followed to the end, but not into or through PLUMBING."""
    reached: set[Path] = set()
    waiting = [file]
    while waiting:
        imported = {path for path in direct_imports(waiting.pop()) if not is_plumbing(path)}
        new = imported - reached
        reached |= new
        waiting += new
    return reached


def deciding_modules(stage: str) -> set[str]:
    """Source files, relative to the root, that can change what a stage writes."""
    file = SOURCE / "latentlab" / "stages" / f"{stage}.py"
    modules = deciding_imports(file) | {file}
    return {path.relative_to(SOURCE.parent).as_posix() for path in modules}


def in_folders(modules: set[str]) -> set[str]:
    """The same modules, with the folder in the place of all modules of a package."""
    named = set(modules)
    for package in {Path(module).parent for module in modules}:
        files = {path.name for path in (SOURCE.parent / package).glob("*.py")} - {"__init__.py"}
        every = {(package / file).as_posix() for file in files}
        if package.name != "latentlab" and every <= modules and len(every) > 1:
            named = (named - every) | {package.as_posix()}
    return named
