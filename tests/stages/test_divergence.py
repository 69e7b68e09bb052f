"""What is left of a training whose loss is no longer finite."""

import csv
import math

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


def break_after(monkeypatch, kind, epochs):
    """Spoil the weights of a training after so many epochs."""
    train_epoch = kind.train_epoch

    def corrupted(training, epoch):
        if epoch > epochs:
            network = training.discriminator if kind is AdversarialTraining else training.model
            with torch.no_grad():
                next(network.parameters()).fill_(math.nan)
        return train_epoch(training, epoch)

    monkeypatch.setattr(kind, "train_epoch", corrupted)


@pytest.mark.parametrize(
    ("stage", "kind", "model"), [("vae", Training, Vae), ("gan", AdversarialTraining, Generator)]
)
def test_the_best_weights_so_far_are_kept_and_the_run_says_why(
    bench, monkeypatch, stage, kind, model
):
    break_after(monkeypatch, kind, 2)

    answer = bench.run(stage)

    assert answer.code == 4
    assert "the loss is not finite in epoch 3, step 1 of 1" in answer.err
    folder = bench.project.outputs(stage) / "model"
    assert f"the best weights so far, of epoch 2, are in {folder}" in answer.err
    kept = load_model(model, folder).state_dict()
    assert all(value.isfinite().all() for value in kept.values())
    run = bench.runs()[stage]
    assert run.info.status == "FAILED"
    assert "epoch 3, step 1 of 1" in run.data.tags["reason"]
    assert run.data.metrics["train/loss" if stage == "vae" else "train/generator_loss"] > 0
    assert not list(bench.project.root.glob(".latentlab/checkpoints/*/*"))


def test_a_value_that_diverges_is_a_failed_run_among_the_others(bench, monkeypatch):
    run_job = jobs.run_job

    def diverging(job):
        if job.name == "adagrad":
            break_after(monkeypatch, Training, 1)
        return run_job(job)

    monkeypatch.setattr(
        "latentlab.pipeline.jobs.run_side_by_side", lambda them: map(diverging, them)
    )

    answer = bench.run("compare", "optimizer")

    assert answer.code == 0, answer.err
    runs = bench.runs()
    assert runs["compare@optimizer"].info.status == runs["adam"].info.status == "FINISHED"
    assert runs["adagrad"].info.status == "FAILED"
    assert "epoch 2, step 1 of 2 " in runs["adagrad"].data.tags["reason"]
    with (bench.project.outputs("compare/optimizer") / "table.csv").open() as file:
        rows = {row["value"]: row for row in csv.DictReader(file)}
    assert rows["adam"]["fault"] == ""
    assert "the loss is not finite" in rows["adagrad"]["fault"]
    assert rows["adagrad"]["epochs"] == "1"
