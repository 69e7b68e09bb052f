"""Results per image of the baseline and the outputs: when they decide, and when they explain."""

import json

import numpy as np
import pytest

from gated import MSE, accepted_run, git, store_baseline, write_examples, write_results
from latentlab.gate.baseline import (
    baseline_path,
    examples_path,
    read_baseline,
    write_baseline,
)

ERRORS = np.linspace(0.05, 0.15, 100)
"""Squared errors per image with a mean of 0.1."""


@pytest.fixture
def accepted(gated, latentlab):
    """The checkout with an accepted baseline that has results per image."""
    write_examples(gated, ERRORS)
    assert latentlab("gate", "--accept").code == 0
    policy = gated.root / "gate.yaml"
    policy.write_text(
        policy.read_text().replace("smallest_effect: 0.01", "tolerance: 0.01, smallest_effect: 0")
    )
    return gated


@pytest.fixture
def judged(latentlab):
    """Return a function: exit code and JSON report on the MSE of `latentlab gate`."""

    def run(*arguments):
        answer = latentlab("gate", "--format", "json", *arguments)
        tree = json.loads(answer.out)
        return answer.code, {each["metric"]: each for each in tree["metrics"]}[MSE]

    return run


def write_change(project, change, weights="w"):
    write_results(project, mse=0.1 + change, accuracy=0.9)
    write_examples(project, ERRORS + change * np.linspace(0, 2, 100), weights)


def test_with_the_same_weights_changes_far_below_the_tolerance_are_detected(accepted, judged):
    write_change(accepted, 0.0001)

    code, metric = judged()

    assert (code, metric["status"], metric["noise_source"]) == (1, "worse", "images")
    assert metric["change"] == pytest.approx(0.0001, rel=0.01)
    assert metric["allowed"] == metric["noise"] < 0.00003
    assert metric["images"]["n"] == 100


@pytest.mark.parametrize(
    ("change", "status", "confidence"), [(-0.0001, "better", 1), (0, "same", 0.5)]
)
def test_the_confidence_is_that_of_the_direction_of_the_change(
    accepted, judged, change, status, confidence
):
    write_change(accepted, change)

    _, metric = judged()

    assert metric["status"] == status
    assert metric["confidence"] == pytest.approx(confidence, abs=1e-3)


def test_the_table_says_that_the_weights_are_the_same(accepted, latentlab):
    write_change(accepted, 0.0001)

    assert "the weights are the same, so seeds cannot explain it" in latentlab("gate").out


def test_other_test_images_are_stated(accepted, latentlab):
    write_examples(accepted, ERRORS, images="others")

    assert "warning: the test images are not those of the baseline" in latentlab("gate").out


def test_with_other_weights_the_change_is_judged_by_seeds(accepted, judged):
    write_change(accepted, 0.0001, weights="retrained")

    code, metric = judged()

    assert (code, metric["status"], metric["noise_source"]) == (0, "same", "unknown")
    assert metric["images"]["p_value"] < 0.001


def test_the_table_states_the_noise_of_images_next_to_that_of_seeds(accepted, latentlab):
    write_change(accepted, 0.02, weights="retrained")

    answer = latentlab("gate")

    assert answer.code == 1
    assert "on the same 100 images it changed by +0.02" in answer.out


def test_results_of_other_images_are_not_compared(accepted, judged):
    write_results(accepted, mse=0.1001, accuracy=0.9)
    write_examples(accepted, ERRORS + 0.0001, images="others")

    code, metric = judged()

    assert (code, metric["images"]) == (0, None)


def test_results_that_contradict_the_metric_are_not_used(accepted, judged):
    write_results(accepted, mse=0.2, accuracy=0.9)

    code, metric = judged()

    assert (code, metric["images"]) == (1, None)


def test_results_that_contradict_the_baseline_are_not_used(accepted, judged):
    path = baseline_path(accepted.root, "digits")
    baseline = read_baseline(path)
    baseline.runs[0].metrics[MSE] = 0.05
    write_baseline(path, baseline)

    code, metric = judged()

    assert (code, metric["images"]) == (1, None)


def test_results_of_a_revision_are_those_of_its_baseline(accepted, judged, latentlab):
    git(accepted.root, "init", "-q")
    git(accepted.root, "add", "-A")
    git(accepted.root, "commit", "-qm", "base")
    write_change(accepted, 0.0001)
    latentlab("gate", "--accept", "--reason", "a test")
    assert judged()[0] == 0

    code, metric = judged("--against", "HEAD")

    assert (code, metric["noise_source"]) == (1, "images")


@pytest.mark.parametrize("damage", ["missing", "edited"])
def test_an_accepted_file_that_is_missing_or_edited_is_an_error(accepted, error, damage):
    path = examples_path(baseline_path(accepted.root, "digits"))
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"0")

    assert f"{path} is missing or not the file that was accepted" in error()


def test_a_baseline_without_results_per_image_is_judged_by_seeds(accepted, judged):
    store_baseline(accepted, accepted_run(mse=0.1, accuracy=0.9))

    assert judged()[1]["images"] is None
