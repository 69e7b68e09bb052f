import csv
import json

import pytest
import torch
from PIL import Image

from latentlab.evaluation import generator_monitor as monitor
from latentlab.models.gan import Generator
from latentlab.stages.gan import WALK_STEPS, WALKS, walk_in_noise

# SQLAlchemy's, for a query of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("conditional", [False, True])
def test_the_generator_that_is_kept_is_the_closest_and_collapse_is_tagged(
    bench, monkeypatch, conditional
):
    monkeypatch.setattr(monitor, "COLLAPSED", 100.0)  # whatever it draws
    bench.edit({"gan.conditional": conditional, "gan.eval_every": 1})

    answer = bench.run("gan")

    assert answer.code == 0, answer.err
    output = bench.project.outputs("gan")
    figures = json.loads((output / "metrics.json").read_text())
    with (output / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    distances = [float(row[monitor.FRECHET]) for row in history]
    assert figures["validation"]["classifier_frechet_distance"] == min(distances)
    assert figures["best_epoch"] == distances.index(min(distances)) + 1
    assert figures["collapsed_epochs"] == 3
    assert figures["real"]["samples"] == 40
    assert figures["real"]["reference"] == 24
    assert bench.runs()["gan"].data.tags["collapsed"] == "epochs 1, 2, 3"
    with Image.open(output / "plots" / "training.gif") as animation:
        assert animation.n_frames == 3


def test_a_generator_that_does_not_collapse_is_not_tagged(bench, monkeypatch):
    monkeypatch.setattr(monitor, "COLLAPSED", 0.0)  # whatever it draws

    assert bench.run("gan").code == 0

    assert "collapsed" not in bench.runs()["gan"].data.tags
    figures = json.loads((bench.project.outputs("gan") / "metrics.json").read_text())
    assert figures["collapsed_epochs"] == 0


def test_epochs_that_were_not_judged_leave_their_figures_empty(bench):
    bench.edit({"gan.eval_every": 2})

    answer = bench.run("gan")

    assert answer.code == 0, answer.err
    with (bench.project.outputs("gan") / "history.csv").open() as file:
        judged = [row[monitor.FRECHET] for row in csv.DictReader(file)]
    assert judged[0] == ""
    assert all(judged[1:])


@torch.inference_mode()
def test_a_walk_goes_from_one_noise_to_another_within_a_class():
    generator = Generator((1, 8, 8), 6, 4, [0.5, 0.3, 0.2]).eval()
    inputs, _ = generator.draw(2 * WALKS, torch.Generator().manual_seed(0))

    rows = walk_in_noise(generator, torch.Generator().manual_seed(0))

    assert len(rows) == WALKS
    start, end = inputs[0].clone(), inputs[1].clone()
    end[6:] = start[6:]
    row = rows["1"]
    assert row.shape == (WALK_STEPS, 1, 8, 8)
    expected = (generator(torch.stack([start, end])) + 1) / 2
    torch.testing.assert_close(row[[0, -1]], expected)
