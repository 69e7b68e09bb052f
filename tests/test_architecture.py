"""The layers of the package: which module may import which module and library."""

import ast

from import_graph import direct_imports, modules, name_of, top_level

LAYERS = [
    {"cli"},
    {"commands", "stages"},
    {"pipeline"},
    {"search", "training", "evaluation", "plots", "report", "tracking", "gate"},
    {"models"},
    {"data", "params"},
    {"common"},
]
ONLY_IN = {"mlflow": {"tracking"}, "click": {"cli"}, "dvc": {"gate"}}
"""The packages that may import a library."""


def layer(path):
    return next(number for number, parts in enumerate(LAYERS) if top_level(path) in parts)


def imported_libraries(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_no_module_imports_from_a_higher_layer():
    upward = [
        f"{name_of(module)} imports {name_of(other)}"
        for module in modules()
        for other in direct_imports(module)
        if layer(other) < layer(module)
    ]

    assert upward == []


def test_mlflow_click_and_dvc_are_imported_in_one_package_each():
    elsewhere = [
        f"{name_of(module)} imports {library}"
        for module in modules()
        for library in imported_libraries(module)
        if top_level(module) not in ONLY_IN.get(library, {top_level(module)})
    ]

    assert elsewhere == []


def test_every_package_belongs_to_a_layer():
    assert {top_level(module) for module in modules()} == set().union(*LAYERS)
