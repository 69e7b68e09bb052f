"""dvc.yaml is complete: deps cover all imports, and params the sections that a stage uses."""

import ast

from ruamel.yaml import YAML

from import_graph import SOURCE, determining_modules
from latentlab.cli import STAGES
from latentlab.common.project import FOREACH_STAGES
from latentlab.params.networks import OptimizationSettings
from latentlab.params.schema import INHERITING, Params, TrainParams
from latentlab.params.studies import SearchParams

DOCUMENT = YAML(typ="safe").load((SOURCE.parent / "dvc.yaml").read_text())
WRITTEN = DOCUMENT["stages"]
PIPELINE = {name: declared.get("do", declared) for name, declared in WRITTEN.items()}
"""Every stage by name; for a `foreach` stage, the template of its entries."""
KEY = "${key}"
BUDGET = {"epochs", "patience", "folds"}
"""Parameters of train that a trial does not use, or that the study sets itself."""
MAX_SOURCES = 80

READ_FROM = ("stage.params", "settings", "resolved_params", "with_values")


def source_dependencies(stage):
    return [dep for dep in PIPELINE[stage]["deps"] if dep.startswith("src/")]


def sections_read(stage):
    """Return the sections of the parameters that the modules of a stage read."""
    files = [
        SOURCE.parent / module for module in determining_modules(stage) if "/stages/" in module
    ]
    return {
        node.attr
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in Params.model_fields
        and ast.unparse(node.value).split("(")[0] in READ_FROM
    }


def test_stages_are_the_commands_of_the_same_name():
    assert list(PIPELINE) == list(STAGES)


def test_a_stage_runs_its_command_and_writes_into_its_own_folder_only():
    for stage, declared in PIPELINE.items():
        written = [
            path
            for kind in ("outs", "metrics", "plots")
            for entry in declared.get(kind, [])
            for path in ([entry] if isinstance(entry, str) else entry)
        ]
        several = stage in FOREACH_STAGES
        assert declared["cmd"] == f"latentlab {stage} {KEY}" if several else f"latentlab {stage}"
        folder = f"outputs/{stage}/{KEY}/" if several else f"outputs/{stage}/"
        assert written
        assert all(path.startswith(folder) for path in written)


def test_a_foreach_stage_exists_for_every_entry_of_its_section():
    multiplied = {name: each["foreach"] for name, each in WRITTEN.items() if "foreach" in each}

    assert multiplied == {name: f"${{{name}}}" for name in FOREACH_STAGES}
    for name in multiplied:
        assert f"{name}.{KEY}" in PIPELINE[name]["params"]
        assert name not in PIPELINE[name]["params"]


def test_every_imported_module_that_can_change_a_result_is_a_dependency():
    missing = [
        f"{stage}: {module}"
        for stage in PIPELINE
        for module in determining_modules(stage)
        if not any(
            module == dep or module.startswith(f"{dep}/") for dep in source_dependencies(stage)
        )
    ]

    assert missing == []


def test_source_dependencies_exist_and_are_few():
    declared = [dep for stage in PIPELINE for dep in source_dependencies(stage)]

    assert [dep for dep in declared if not (SOURCE.parent / dep).exists()] == []
    assert len(declared) <= MAX_SOURCES


def test_params_are_the_sections_that_a_stage_reads():
    """And `optimization`, if such a section does not contain all of its keys."""
    for stage, declared in PIPELINE.items():
        read = sections_read(stage)
        if stage != "fetch":  # splits have a seed of their own
            read |= {"runtime"}
        if stage == "report":
            read = {*Params.model_fields}  # it shows all of them
        if stage == "search":
            read |= {"train"}  # a trial is a training
        if read & {*INHERITING, "denoise"} - {"train"} and stage != "evaluate":
            read |= {"optimization"}
        assert {name.split(".")[0] for name in declared["params"]} == read, stage


def test_search_depends_on_all_of_train_but_its_budget():
    declared = {
        name.removeprefix("train.")
        for name in PIPELINE["search"]["params"]
        if name.startswith("train.")
    }

    assert declared == set(TrainParams.model_fields) - BUDGET
    assert "epochs" in SearchParams.model_fields


def test_train_contains_all_keys_of_optimization(repository):
    """It inherits nothing, because `search` depends on its keys one by one."""
    document = YAML(typ="safe").load((repository / "params.yaml").read_text())

    assert set(OptimizationSettings.model_fields) <= set(document["train"])
    assert set(document["optimization"]) == set(OptimizationSettings.model_fields)


def test_every_declared_parameter_is_written_in_params_yaml(repository):
    """DVC fails if one is missing, even if the schema has a default."""
    written = YAML(typ="safe").load((repository / "params.yaml").read_text())
    for stage, declared in PIPELINE.items():
        for name in declared["params"]:
            value = written
            for key in name.removesuffix(f".{KEY}").split("."):
                assert key in value, f"{stage}: {name}"
                value = value[key]


def test_every_model_is_an_artifact():
    models = [out for each in PIPELINE.values() for out in each.get("outs", []) if "model" in out]

    assert sorted(each["path"] for each in DOCUMENT["artifacts"].values()) == sorted(models)
    for artifact in DOCUMENT["artifacts"].values():
        assert artifact["type"] == "model"
        assert artifact["desc"]
        assert artifact["labels"]


def test_only_evaluate_and_report_read_the_test_split():
    readers = [name for name, each in PIPELINE.items() if "outputs/fetch/test" in each["deps"]]

    assert readers == ["evaluate", "report"]
