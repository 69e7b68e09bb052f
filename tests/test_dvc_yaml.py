"""dvc.yaml says what is true: deps are the real imports, params the sections that are read."""

import ast

import pytest
from ruamel.yaml import YAML

from import_graph import PLUMBING, SOURCE, deciding_modules, in_folders, path_of
from latentlab.cli import STAGES
from latentlab.params.schema import Params, TrainParams
from latentlab.params.studies import SearchParams
from latentlab.project import OF_SEVERAL

WRITTEN = YAML(typ="safe").load((SOURCE.parent / "dvc.yaml").read_text())["stages"]
PIPELINE = {name: declared.get("do", declared) for name, declared in WRITTEN.items()}
"""Every stage; of those that `foreach` multiplies the one that it makes for each `${key}`."""
KEY = "${key}"
BUDGET = {"epochs", "patience", "folds"}
"""Parameters of train of which a trial has its own, or that mean nothing to it."""


READ_FROM = ("stage.params", "settings", "resolved_params", "with_values")


def sections_read(stage):
    """Sections taken from the parameters in the module of a stage."""
    tree = ast.parse((SOURCE / "latentlab" / "stages" / f"{stage}.py").read_text())
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in Params.model_fields
        and ast.unparse(node.value).split("(")[0] in READ_FROM
    }


def test_the_stages_of_the_pipeline_are_the_verbs_of_the_command_line():
    assert list(PIPELINE) == list(STAGES)


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_runs_its_verb_and_writes_into_its_folder_alone(stage):
    declared = PIPELINE[stage]
    written = [
        path
        for kind in ("outs", "metrics", "plots")
        for entry in declared.get(kind, [])
        for path in ([entry] if isinstance(entry, str) else entry)
    ]

    several = stage in OF_SEVERAL
    assert declared["cmd"] == f"latentlab {stage} {KEY}" if several else f"latentlab {stage}"
    assert written
    folder = f"outputs/{stage}/{KEY}/" if several else f"outputs/{stage}/"
    assert all(path.startswith(folder) for path in written)


def test_a_stage_of_which_there_are_several_is_made_for_every_entry_of_its_section():
    multiplied = {name: each["foreach"] for name, each in WRITTEN.items() if "foreach" in each}

    assert multiplied == {name: f"${{{name}}}" for name in OF_SEVERAL}
    for name in multiplied:
        assert f"{name}.{KEY}" in PIPELINE[name]["params"]
        assert name not in PIPELINE[name]["params"]


@pytest.mark.parametrize("stage", PIPELINE)
def test_deps_name_exactly_the_modules_that_can_change_the_results(stage):
    declared = {dep for dep in PIPELINE[stage]["deps"] if dep.startswith("src/")}

    assert declared == in_folders(deciding_modules(stage))


@pytest.mark.parametrize("stage", PIPELINE)
def test_params_name_exactly_the_sections_that_the_stage_reads(stage):
    declared = {name.split(".")[0] for name in PIPELINE[stage]["params"]}
    read = sections_read(stage) | {"runtime"}
    if stage == "search":
        read |= {"train"}  # a trial is the section train

    assert declared == read


def test_what_is_left_out_as_plumbing_exists():
    assert [name for name in PLUMBING if path_of(f"latentlab.{name}") is None] == []


def test_search_depends_on_all_of_train_but_its_budget():
    declared = {
        name.removeprefix("train.")
        for name in PIPELINE["search"]["params"]
        if name.startswith("train.")
    }

    assert declared == set(TrainParams.model_fields) - BUDGET
    assert "epochs" in SearchParams.model_fields


@pytest.mark.parametrize("stage", PIPELINE)
def test_every_parameter_that_is_named_is_written_in_params_yaml(stage, repository):
    """DVC stops where it finds none, whatever default the schema has."""
    written = YAML(typ="safe").load((repository / "params.yaml").read_text())
    for name in PIPELINE[stage]["params"]:
        value = written
        for key in name.removesuffix(f".{KEY}").split("."):
            assert key in value, name
            value = value[key]


@pytest.mark.parametrize("stage", PIPELINE)
def test_only_evaluate_reads_the_test_split(stage):
    reads_test = "outputs/fetch/test" in PIPELINE[stage]["deps"]

    assert reads_test == (stage == "evaluate")
