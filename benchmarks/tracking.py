"""The share of MLflow in the time of a training on Fashion-MNIST."""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentlab.common.processes import available_cores
from latentlab.common.project import Project
from latentlab.params.load import load_params
from latentlab.params.resolve import with_values
from latentlab.params.schema import Params
from latentlab.pipeline.context import prepare_stage
from latentlab.stages import train
from latentlab.tracking.run import Recorder, track

from .data import describe_data, prepare_data


def measure() -> dict[str, float]:
    """Return the time that `train` waits for the recorder, and the recorder's processor time."""
    waited = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal waited
            start = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                waited += time.perf_counter() - start

        return call

    Recorder.send, Recorder.end = timed(Recorder.send), timed(Recorder.end)
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), Path(folder))
        prepare_data(project.outputs("fetch"))
        describe_data(project.outputs("fetch"))
        (project.outputs("fetch") / "test").rename(project.outputs("fetch") / "validation")
        before = _seconds_of_children()
        start = time.perf_counter()
        with track(project, "train", "fashion-mnist", "benchmark") as run:
            train.run(prepare_stage("train", "benchmark", project, settings(), run))
        seconds = time.perf_counter() - start
    recorder = (_seconds_of_children() - before) / available_cores()
    return {
        "mlflow_share": (waited + recorder) / seconds,
        "mlflow_seconds_waited": waited,
        "mlflow_seconds_of_all_cores": recorder,
        "mlflow_seconds_in_all": seconds,
    }


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def settings() -> Params:
    """Return the shipped parameters with the training of the Fashion-MNIST profile."""
    values = {
        "train.model.channels": [16, 32, 64],
        "train.model.hidden": 128,
        "train.model.latent_dim": 8,
        "train.optimizer": "adamw",
        "train.learning_rate": 0.004,
        "train.weight_decay": 0.0001,
        "train.batch_size": 128,
        "train.epochs": 15,
    }
    return with_values(load_params(Path("params.yaml")), values)
