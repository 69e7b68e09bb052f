"""Trainings whose loss becomes NaN or infinite."""

import csv
import math
import re

import pytest
import torch

from latentlab.models.gan import Generator
from latentlab.models.io import load_model
from latentlab.models.vae import Vae
from latentlab.training import jobs
from latentlab.training.gan import AdversarialTraining
from latentlab.training.loop import Training

# SQLAlchemy's, for a query of MLflow's
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def set_nan_after(monkeypatch, loop, epochs):
    """Set weights to NaN after so many epochs of a training."""
    train_epoch = loop.train_epoch

    def diverging_epoch(training, epoch):
        if epoch > epochs:
            network = training.discriminator if loop is AdversarialTraining else training.model
            with torch.no_grad():
                next(network.parameters()).fill_(math.nan)
        return train_epoch(training, epoch)

    monkeypatch.setattr(loop, "train_epoch", diverging_epoch)


def without_loss(text):
    """Hide the last loss, which depends on the processor."""
    return re.sub(r"last finite loss [\d.e+-]+", "last finite loss <loss>", text)


@pytest.mark.parametrize(
    ("stage", "loop", "model"), [("vae", Training, Vae), ("gan", AdversarialTraining, Generator)]
)
def test_the_best_weights_are_saved_and_the_run_has_the_reason(
    bench, monkeypatch, message, stage, loop, model
):
    set_nan_after(monkeypatch, loop, 2)

    answer = bench.run(stage)

    assert answer.code == 4
    message(f"stages/{stage} diverged", without_loss(answer.err))
    weights = load_model(model, bench.project.outputs(stage) / "model").state_dict()
    assert all(value.isfinite().all() for value in weights.values())
    run = bench.runs()[stage]
    assert run.info.status == "FAILED"
    assert "epoch 3, step 1 of 1" in run.data.tags["reason"]
    assert run.data.tags["diagnosis"] == "diverged"
    assert run.data.metrics["train/loss" if stage == "vae" else "train/generator_loss"] > 0
    assert not list(bench.project.root.glob(".latentlab/checkpoints/*/*"))


def test_a_training_that_diverges_in_the_first_epoch_leaves_no_model(bench, monkeypatch, message):
    set_nan_after(monkeypatch, Training, 0)

    answer = bench.run("vae")

    assert answer.code == 4
    message("stages/vae diverged in the first epoch", without_loss(answer.err))
    assert not (bench.project.outputs("vae") / "model").exists()


class TestComparison:
    @pytest.fixture
    def diverge(self, monkeypatch):
        """Make the jobs with these names diverge after an epoch; run all jobs in this process."""
        run_job = jobs.run_job

        def diverge_jobs(*names):
            def run(job):
                with monkeypatch.context() as patch:
                    if job.name in names:
                        set_nan_after(patch, Training, 1)
                    return run_job(job)

            monkeypatch.setattr(
                "latentlab.pipeline.jobs.run_side_by_side", lambda them: map(run, them)
            )

        return diverge_jobs

    def test_a_diverged_value_is_a_failed_run_and_does_not_stop_the_others(self, bench, diverge):
        diverge("adam")

        answer = bench.run("compare", "optimizer")

        assert answer.code == 0, answer.err
        runs = bench.runs()
        assert (
            runs["compare@optimizer"].info.status
            == runs["optimizer=adagrad"].info.status
            == "FINISHED"
        )
        assert runs["optimizer=adam"].info.status == "FAILED"
        assert "epoch 2, step 1 of 2 " in runs["optimizer=adam"].data.tags["reason"]
        with (bench.project.outputs("compare/optimizer") / "table.csv").open() as file:
            rows = {row["value"]: row for row in csv.DictReader(file)}
        assert rows["adagrad"]["error"] == ""
        assert "the loss is not finite" in rows["adam"]["error"]
        assert rows["adam"]["epochs"] == "1"

    def test_a_comparison_fails_if_all_values_diverge(self, bench, diverge, message):
        diverge("adam", "adagrad")

        answer = bench.run("compare", "optimizer")

        assert answer.code == 4
        message("stages/compare diverged", without_loss(answer.err))
