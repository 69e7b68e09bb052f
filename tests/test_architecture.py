"""The floors of the house: nothing imports upwards."""

import ast

import pytest

from import_graph import SOURCE, direct_imports

PACKAGE = SOURCE / "latentlab"
FLOORS = [
    {"cli"},
    {"stages"},
    {
        "search",
        "search_status",
        "training",
        "adversarial",
        "latent",
        "evaluation",
        "plots",
        "tracking",
        "gate",
        "profile",
        "doctor",
        "describe",
        "explore",
    },
    {"models"},
    {"networks", "data", "runtime", "params_file"},
    {"found", "identity", "parallel", "params", "project", "files", "progress", "errors", "world"},
]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def floor(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return next(number for number, parts in enumerate(FLOORS) if part in parts)


def name(path):
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_nothing_imports_upwards(module):
    above = [name(other) for other in direct_imports(module) if floor(other) < floor(module)]

    assert above == []


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_only_tracking_knows_mlflow(module):
    imported = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])

    assert "dvc" not in imported
    assert "mlflow" not in imported or module.parent.name == "tracking"
    assert ("click" in imported) == (module.stem == "cli")
