"""`latentlab schema`: the JSON schema of params.yaml and its reference page."""

import json

import jsonschema
from ruamel.yaml import YAML

from latentlab.commands.schema import json_schema, reference_page
from latentlab.params.networks import ConvolutionParams, OptimizationSettings
from latentlab.params.schema import Params


def without_required(schema):
    """Return a schema of documents that contain only some of the keys."""
    if isinstance(schema, dict):
        return {k: without_required(v) for k, v in schema.items() if k != "required"}
    return [without_required(each) for each in schema] if isinstance(schema, list) else schema


def alternatives(schema):
    return schema.get("anyOf", [])


def test_the_files_of_the_repository_are_current(repository):
    """`make reference` writes them again."""
    schema = (repository / "params.schema.json").read_text(encoding="utf-8")
    page = (repository / "docs/reference/params.md").read_text(encoding="utf-8")

    assert json.loads(schema) == json_schema()
    assert page == reference_page()


def test_params_yaml_names_its_schema_in_the_first_line(repository):
    first, *_ = (repository / "params.yaml").read_text().splitlines()

    assert first == "# yaml-language-server: $schema=params.schema.json"


def test_the_command_writes_both_files(checkout, latentlab):
    answer = latentlab("schema")

    written = [
        checkout.root / "params.schema.json",
        checkout.root / "docs" / "reference" / "params.md",
    ]
    assert answer.code == 0
    assert answer.out.splitlines() == [str(path) for path in written]
    assert json.loads(written[0].read_text()) == json_schema()
    assert written[1].read_text() == reference_page()


def test_every_key_has_a_title_and_a_description():
    for name, definition in json_schema()["$defs"].items():
        assert definition["additionalProperties"] is False
        for key, value in definition["properties"].items():
            assert value.get("title") or "$ref" in str(value), f"{name}.{key}"
            assert value["description"], f"{name}.{key}"


def test_enumerations_ranges_units_and_defaults_are_included():
    definitions = json_schema()["$defs"]
    vae, data = definitions["VaeParams"]["properties"], definitions["DataParams"]["properties"]

    assert "adamw" in vae["optimizer"]["enum"]
    assert vae["beta"] == vae["beta"] | {"minimum": 0, "default": 1.0, "type": "number"}
    assert data["image_size"] == data["image_size"] | {
        "minimum": 8,
        "maximum": 256,
        "multipleOf": 4,
        "unit": "pixels",
    }


def test_the_word_search_is_allowed_in_train_only():
    definitions = json_schema()["$defs"]
    train = definitions["TrainParams"]["properties"]
    model = definitions[train["model"]["$ref"].rpartition("/")[2]]["properties"]
    searched = {key for key in train if {"const": "search"} in alternatives(train[key])}

    assert searched == {*OptimizationSettings.model_fields, "augmentation"} - {"precision"}
    assert set(model) == set(ConvolutionParams.model_fields)
    assert all({"const": "search"} in alternatives(value) for value in model.values())
    for name in ("VaeParams", "ConvolutionParams", "OptimizationSettings"):
        assert '"search"' not in json.dumps(definitions[name]["properties"])
    assert "searchable" not in json.dumps(definitions)


def test_transforms_have_the_arguments_of_torchvision():
    definitions = json_schema()["$defs"]
    affine = definitions["Transform"]["properties"]["RandomAffine"]

    assert affine["required"] == ["degrees"]
    assert affine["properties"]["interpolation"] == {
        "title": "interpolation",
        "default": "nearest",
    }
    for name in ("TrainParams", "DenoiserParams", "ReferenceParams", "GanParams"):
        assert "#/$defs/Transform" in str(definitions[name]["properties"]["augmentation"])


def test_params_yaml_and_all_profiles_are_valid(repository):
    read = YAML(typ="safe").load
    schema = json_schema()
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema)
    validator(schema).validate(read(repository / "params.yaml"))
    for path in (repository / "profiles").iterdir():
        validator(without_required(schema)).validate(read(path))
    wrong = read(repository / "params.yaml")
    wrong["vae"]["optimizer"] = "search"
    assert not validator(schema).is_valid(wrong)


def test_the_page_describes_every_key():
    page = reference_page()
    definitions = Params.model_json_schema()["$defs"]

    for section in Params.model_fields:
        assert f"\n## {section}\n" in page
    for name, definition in definitions.items():
        for key in definition["properties"]:
            assert f"\n| `{key}` |" in page, f"{name}.{key}"
    assert "| `scheduler` | text matching `^(tcp\\|tls\\|ucx\\|ws\\|wss)://.+` or `null` |" in page
    assert page.count("| `weight_decay` |") == 1
