"""The latency of a classifier of Fashion-MNIST images that `mlflow models serve` serves."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import requests
import torch

from latentlab.common.project import Project
from latentlab.data.image_set import DatasetInfo
from latentlab.models.classifier import Classifier
from latentlab.models.io import save_model
from latentlab.params.geometry import Architecture
from latentlab.tracking.run import track

REQUESTS, WARM_UP = 2000, 100
SHAPE = (1, 28, 28)
INFO = DatasetInfo("random", [str(n) for n in range(10)], list(SHAPE), {}, [0.5], [0.3], {}, "0")
SECONDS_TO_START = 120


def measure() -> dict[str, float]:
    """Return percentiles of the latency of requests with one image, in milliseconds.

    One client sends one request after the other. The latency depends on the machine and its load,
    so the load (the mean number of running processes in the last minute) before the measurement is
    part of the result.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        uri = _log_classifier(Project(root, root))
        image = torch.rand(1, *SHAPE).numpy()
        model = mlflow.pyfunc.load_model(uri)
        in_memory = _milliseconds(lambda: model.predict(image))
        with _server(root, uri) as address, requests.Session() as session:
            body = {"inputs": image.tolist()}

            def send() -> None:
                session.post(f"{address}/invocations", json=body, timeout=60).raise_for_status()

            served = _milliseconds(send)
    return {
        "serve_p50_ms": float(np.percentile(served, 50)),
        "serve_p99_ms": float(np.percentile(served, 99)),
        "serve_in_memory_p50_ms": float(np.percentile(in_memory, 50)),
        "serve_load": load,
    }


def _log_classifier(project: Project) -> str:
    """Log a classifier as large as that of Fashion-MNIST; return the URI of the model."""
    architecture = Architecture(SHAPE, [16, 32, 64], 128, 8)
    classifier = Classifier(architecture, [128], 10, freeze_encoder=False).eval()
    save_model(classifier, project.root / "saved")
    with track(project, "finetune", INFO.name, "benchmark") as run:
        run.log_model(project.root / "saved", INFO, torch.rand(1, *SHAPE), torch.zeros(1, 8), 1)
    mlflow.set_tracking_uri(f"sqlite:///{project.root / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name(f"latentlab/{INFO.name}")
    (logged,) = mlflow.search_logged_models([experiment.experiment_id], output_format="list")
    return f"models:/{logged.model_id}"


def _milliseconds(function) -> list[float]:
    """Return the duration of each of REQUESTS calls, after WARM_UP others."""
    durations = []
    for _ in range(WARM_UP + REQUESTS):
        start = time.perf_counter()
        function()
        durations.append(1000 * (time.perf_counter() - start))
    return durations[WARM_UP:]


@contextmanager
def _server(root: Path, uri: str) -> Iterator[str]:
    """Serve a model and yield the address of the server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve", "-m", uri]
    process = subprocess.Popen(
        [*command, "--env-manager", "local", "--port", str(port)],
        cwd=root,
        env=os.environ
        | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server of {uri} did not start")
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/ping", timeout=5).ok
    except requests.ConnectionError:
        return False
