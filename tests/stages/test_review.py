"""Stages whose training fails in a known way, and what they say about it."""

import json

import numpy as np
import pytest

from latentlab.data.image_set import write_split
from latentlab.evaluation import generator_monitor as monitor

# SQLAlchemy warns about a query of MLflow
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def draw_bars(count, seed):
    """Return images [N, 1, 8, 8] with a bright left half and a row as bright as its class."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((count, 1, 8, 8), np.uint8)
    pixels[..., :4] = 230
    for number, row in enumerate(random.integers(0, 8, count)):
        pixels[number, 0, row] = 60 + 120 * (number % 2)
    return pixels, np.arange(count) % 2


@pytest.fixture
def bars(bench):
    for seed, (split, count) in enumerate({"train": 200, "validation": 100}.items()):
        write_split(bench.project.outputs("fetch") / split, *draw_bars(count, seed))
    bench.edit({"vae.batch_size": 20, "vae.patience": None, "reference.channels": [4]})
    return bench


def run_and_review(bench, stage, changes):
    """Run a stage; return its last two lines, the tags of its run and its `diagnosis.json`."""
    bench.edit(changes)
    answer = bench.run(stage)
    assert answer.code == 0, answer.err
    review = json.loads((bench.project.outputs(stage) / "diagnosis.json").read_text())
    return answer.err.splitlines()[-2:], bench.runs()[stage].data.tags, review


def test_a_learning_rate_of_almost_zero_does_not_learn(bars):
    lines, tags, review = run_and_review(bars, "vae", {"vae.learning_rate": 1e-12})

    assert lines[0].startswith("vae: the network did not learn (training sampled_mse 0.")
    assert lines[0].endswith("; raise vae.epochs or vae.learning_rate")
    assert "; below baseline: validation/mse 0." in lines[1]
    assert tags["diagnosis"] == "did_not_learn"
    assert tags["below_baseline"].startswith("validation/mse 0.")
    assert "(pixel PCA 0.0" in tags["below_baseline"]
    assert [each["problem"] for each in review["findings"]] == ["did_not_learn"]
    assert [each["below"] for each in review["baselines"]] == [True]


def test_a_large_weight_of_the_kl_divergence_collapses_the_posterior(bars):
    changes = {"vae.beta": 1000.0, "vae.epochs": 8, "vae.learning_rate": 0.01}

    lines, tags, _ = run_and_review(bars, "vae", changes)

    assert lines[0].startswith("vae: posterior collapse: no latent dimension depends on the image")
    assert "; lower vae.beta, now 1000, or raise " in lines[0]
    assert tags["diagnosis"] == "collapsed"


def test_one_epoch_is_too_short(bars):
    lines, tags, _ = run_and_review(bars, "vae", {"vae.epochs": 1, "vae.learning_rate": 0.01})

    assert lines[0].startswith("vae: still improving in the last epoch, 1 (validation sampled_mse")
    assert lines[0].endswith("; raise vae.epochs")
    assert tags["diagnosis"] == "still_improving"


def test_a_classifier_that_does_not_learn_is_compared_with_the_majority_class(bars):
    changes = {
        "reference.learning_rate": 1e-12,
        "reference.epochs": 3,
        "reference.augmentation": [],
    }

    lines, tags, review = run_and_review(bars, "reference", changes)

    assert lines[0].startswith("reference: the network did not learn (training loss ")
    assert tags["diagnosis"] == "did_not_learn"
    (comparison,) = review["baselines"]
    assert (comparison["baseline"], comparison["baseline_value"]) == ("majority class", 0.5)


def test_a_collapsed_generator_is_reported(bars, monkeypatch):
    monkeypatch.setattr(monitor, "COLLAPSE_THRESHOLD", 100.0)  # every generator is collapsed

    lines, tags, review = run_and_review(bars, "gan", {"gan.eval_every": 1})

    assert any(line.startswith("gan: mode collapse: diversity") for line in lines)
    assert "collapsed" in tags["diagnosis"]
    assert review["baselines"][0]["baseline"] == "Gaussian of the pixels"


def test_a_good_model_has_no_tags(bars):
    optimization = {"learning_rate": 0.005, "schedule": "one_cycle", "ema_decay": None}
    changes = {"vae.model.latent_dim": 1, "vae.epochs": 60} | {
        f"vae.{name}": value for name, value in optimization.items()
    }

    lines, tags, review = run_and_review(bars, "vae", changes)

    assert "below baseline" not in lines[-1]
    assert {"below_baseline", "diagnosis"}.isdisjoint(tags)
    assert review["findings"] == []
