"""finetune as a whole: the study over its own parameters."""

import csv

import pytest
from ruamel.yaml import YAML

# SQLAlchemy's, for a query of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STUDY = {
    "trials": 3,
    "epochs": 2,
    "images": 40,
    "objectives": {"validation/accuracy": "maximize"},
    "space": {
        "finetune.head": {"type": "categorical", "choices": [[], [8], [4, 4]]},
        "finetune.learning_rate": {"type": "float", "low": 0.001, "high": 0.01, "log": True},
    },
}


def test_what_its_study_finds_takes_the_place_of_what_is_written(bench):
    bench.edit({"finetune.search": STUDY, "finetune.label_efficiency": None, "finetune.epochs": 2})
    trained = bench.run("train")
    assert trained.code == 0, trained.err

    answer = bench.run("finetune")

    assert answer.code == 0, answer.err
    output = bench.project.outputs("finetune")
    with (output / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    best = max(rows, key=lambda row: float(row["validation/accuracy"] or 0))
    settings = YAML(typ="safe").load(output / "settings.yaml")
    assert settings["learning_rate"] == float(best["finetune.learning_rate"])
    runs = bench.runs()
    assert runs["finetune"].data.params["finetune.learning_rate"] == str(settings["learning_rate"])
    assert {"trial 0", "trial 1", "trial 2"} <= set(runs)
    drawn = {path.name for path in (output / "plots" / "search").iterdir()}
    assert {"trials.png", "learning_curves.png", "slices.png", "parallel.png"} <= drawn
