import csv
import json

import numpy as np
import pytest

from latentlab.params.yaml_io import read_yaml


def test_values_that_are_invalid_with_the_search_result_are_rejected(bench, message):
    space = dict(read_yaml(bench.project.params)["search"]["space"])
    space["train.model.batch_norm"] = {"type": "categorical", "choices": [True, False]}
    bench.edit({"search.space": space, "train.model.batch_norm": "search"})
    best_params = bench.project.outputs("search") / "best_params.yaml"
    best_params.write_text(best_params.read_text() + "train.model.batch_norm: true\n")
    sizes = {"parameter": "train.batch_size", "values": [1, 64], "epochs": 1}
    bench.edit({"compare": {"sizes": sizes}})

    answer = bench.run("compare", "sizes")

    assert answer.code == 2
    message("stages/compare value invalid with search result", answer.err)


def test_errors_are_means_over_seeds(bench):
    def error(seed, seeds=1):
        variants = {"values": {"plain": {}}, "epochs": 1}
        bench.edit({"compare": {"spread": variants | {"seeds": seeds}}, "runtime.seed": seed})
        answer = bench.run("compare", "spread")
        assert answer.code == 0, answer.err
        folder = bench.project.outputs("compare") / "spread"
        return json.loads((folder / "metrics.json").read_text())["plain"]["validation"]

    single = [error(seed)["mse"] for seed in (0, 1)]
    both = error(0, seeds=2)

    assert both["mse"] == pytest.approx(np.mean(single))
    assert both["mse_std"] == pytest.approx(np.std(single, ddof=1))
    assert both["seeds"] == 2


def test_values_can_be_named_groups_of_parameters(bench):
    pruned = {"train.prune_fraction": 0.5, "train.prune_epochs": [1]}
    variants = {"values": {"none": {}, "half": pruned}, "epochs": 1, "max_train_images": 32}
    bench.edit({"compare": {"pruning": variants}})

    answer = bench.run("compare", "pruning")

    assert answer.code == 0, answer.err
    folder = bench.project.outputs("compare") / "pruning"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics) == ["none", "half"]
    assert "sparsity" not in metrics["none"]
    assert metrics["half"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    with (folder / "table.csv").open() as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["none", "half"]
    assert {path.name for path in (folder / "plots").iterdir()} == {"curves.png"}
