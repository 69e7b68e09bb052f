import csv
import json

import pytest
import torch
from PIL import Image

from latentlab.evaluation import generator_monitor as monitor
from latentlab.models.gan import Generator
from latentlab.stages.gan import INTERPOLATION_STEPS, INTERPOLATIONS, interpolate_noise

# SQLAlchemy warns about a query of MLflow
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def read_metrics(bench):
    return json.loads((bench.project.outputs("gan") / "metrics.json").read_text())


def read_distances(bench):
    with (bench.project.outputs("gan") / "history.csv").open() as file:
        return [row[monitor.VALIDATION_DISTANCE] for row in csv.DictReader(file)]


def test_the_epoch_with_the_lowest_distance_is_the_best_and_collapse_is_tagged(bench, monkeypatch):
    monkeypatch.setattr(monitor, "COLLAPSE_THRESHOLD", 100.0)  # every generator is collapsed
    bench.edit({"gan.conditional": True, "gan.eval_every": 1})

    answer = bench.run("gan")

    assert answer.code == 0, answer.err
    metrics, distances = read_metrics(bench), list(map(float, read_distances(bench)))
    assert metrics["validation"]["classifier_frechet_distance"] == min(distances)
    assert metrics["best_epoch"] == distances.index(min(distances)) + 1
    assert metrics["collapsed_epochs"] == 3
    assert (metrics["real"]["samples"], metrics["real"]["real_samples"]) == (40, 24)
    assert bench.runs()["gan"].data.tags["collapsed"] == "epochs 1, 2, 3"
    with Image.open(bench.project.outputs("gan") / "plots" / "training.gif") as animation:
        assert animation.n_frames == 3


def test_epochs_without_evaluation_have_no_distance_and_a_diverse_generator_has_no_tag(
    bench, monkeypatch
):
    monkeypatch.setattr(monitor, "COLLAPSE_THRESHOLD", 0.0)  # no generator is collapsed
    bench.edit({"gan.conditional": False, "gan.eval_every": 2})

    answer = bench.run("gan")

    assert answer.code == 0, answer.err
    distances = read_distances(bench)
    assert distances[0] == ""
    assert all(distances[1:])
    assert read_metrics(bench)["collapsed_epochs"] == 0
    assert "collapsed" not in bench.runs()["gan"].data.tags


@torch.inference_mode()
def test_interpolations_between_noise_vectors_keep_the_class():
    generator = Generator((1, 8, 8), 6, 4, [0.5, 0.3, 0.2]).eval()
    inputs, _ = generator.draw(2 * INTERPOLATIONS, torch.Generator().manual_seed(0))

    rows = interpolate_noise(generator, torch.Generator().manual_seed(0))

    assert len(rows) == INTERPOLATIONS
    start, end = inputs[0].clone(), inputs[1].clone()
    end[6:] = start[6:]  # the class
    assert rows["1"].shape == (INTERPOLATION_STEPS, 1, 8, 8)
    expected = (generator(torch.stack([start, end])) + 1) / 2
    torch.testing.assert_close(rows["1"][[0, -1]], expected)
