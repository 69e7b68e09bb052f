import csv

import pytest
from ruamel.yaml import YAML

# SQLAlchemy warns about a query of MLflow
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STUDY = {
    "trials": 3,
    "epochs": 2,
    "max_train_images": 40,
    "objectives": {"validation/accuracy": "maximize"},
    "space": {
        "finetune.head": {"type": "categorical", "choices": [[], [8], [4, 4]]},
        "finetune.learning_rate": {"type": "float", "low": 0.001, "high": 0.01, "log": True},
    },
}


def test_the_best_values_of_the_study_replace_those_in_params_yaml(bench):
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
    plots = {path.name for path in (output / "plots" / "search").iterdir()}
    assert {"trials.png", "learning_curves.png", "slices.png", "parallel.png"} <= plots
