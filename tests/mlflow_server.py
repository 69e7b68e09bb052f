"""A real MLflow server that can be killed, restarted and stopped in the middle of its work."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import requests

SECONDS_TO_START = 90
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "share-a-store.md"
COMMAND = re.search("^mlflow server .*", PAGE.read_text(), re.MULTILINE)[0]
"""How the documentation starts a server."""


class Server:
    """An MLflow server with its store in a folder, at the address `uri`."""

    def __init__(self, folder, empty_store):
        self.folder = folder
        shutil.copy(empty_store, folder / "runs.db")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = shlex.split(
            COMMAND.replace("0.0.0.0", "127.0.0.1").replace("5000", str(self.port))
        )
        command = [sys.executable, "-m", *command, "--workers", "1"]
        with (self.folder / "server.log").open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)

    def answers(self):
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def kill(self):
        self._signal(signal.SIGKILL)
        self.process.wait()

    def hang(self):
        """Accept connections, but never answer."""
        self._signal(signal.SIGSTOP)

    def answer_again(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        os.killpg(self.process.pid, number)

    @property
    def client(self):
        return mlflow.MlflowClient(self.uri)

    def runs(self, dataset):
        """Return the runs of a dataset, oldest first; none before its experiment exists."""
        experiment = self.client.get_experiment_by_name(f"latentlab/{dataset}")
        order = ["attributes.start_time ASC"]
        return (
            self.client.search_runs([experiment.experiment_id], order_by=order)
            if experiment
            else []
        )

    def steps(self, run, metric):
        """Return how often each step of a metric was logged."""
        history = self.client.get_metric_history(run.info.run_id, metric)
        return Counter(point.step for point in history)

    def images(self, run):
        """Return names and steps of the logged images.

        MLflow stores a PNG file and then a WebP file of each. A PNG file without the other is what
        an interrupted attempt left behind.
        """
        files = [file.path for file in self.client.list_artifacts(run.info.run_id, "images")]
        last = "+compressed.webp"
        stored = [file.removesuffix(last) for file in files if file.endswith(last)]
        assert {f"{file}.png" for file in stored} <= set(files)
        names = [file.removeprefix("images/").split("+timestamp")[0] for file in stored]
        assert len(set(names)) == len(names)
        return sorted(name.replace("+", " ") for name in names)


def wait_until(condition, seconds=60):
    """Poll until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.1)
