"""A served model answers HTTP requests; the commands of docs/how-to/serve-a-model.md run."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests
import torch

from logged_outputs import IMAGES, INFO, write_gate, write_outputs

pytestmark = pytest.mark.filterwarnings(
    # MLflow's and torch's own, on the versions in the lock
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore:.*type hint is inferred as AnyType:UserWarning",
)

SECONDS_TO_START = 120
VALID = {"inputs": IMAGES.tolist()}


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "how-to" / "serve-a-model.md").read_text()


@pytest.fixture(scope="module")
def commands(page):
    """The commands of the page by their first two words."""
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    lines = blocks.replace("\\\n", " ").splitlines()
    return {" ".join(shlex.split(line)[:2]): line for line in lines}


@pytest.fixture(scope="module")
def champion(repository, tmp_path_factory, empty_store):
    """The current classifier, in a checkout whose store has another champion."""
    from latentlab.cli import main
    from latentlab.common.project import Project

    root = tmp_path_factory.mktemp("checkout")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(repository / name, root)
    shutil.copy(empty_store, root)
    project = Project(root, root)
    write_gate(project)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(root)
        patch.setattr(sys, "argv", ["latentlab", "promote", "--stale-ok"])
        write_outputs(project)
        with pytest.raises(SystemExit, match="0"):
            main()
        classifier = write_outputs(project, seed=1)
        yield classifier, root
    signal.signal(signal.SIGTERM, on_sigterm)
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def shell(champion):
    """Return a function that runs a command of the page in the checkout."""
    _, root = champion
    hidden = ("MLFLOW_", "DVC_", "LATENTLAB_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")
    environment["OMP_NUM_THREADS"] = "1"  # as in the tests, for bit-identical results

    def run(command, wait=True):
        process = subprocess.Popen(
            command,
            shell=True,
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE if wait else (root / "serve.log").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if not wait:
            return process
        output, _ = process.communicate(timeout=SECONDS_TO_START)
        assert process.returncode == 0, output
        return output

    return run


@pytest.fixture(scope="module")
def server(champion, shell, commands):
    """The address of a server of the champion, after the current models were promoted."""
    shell(f"{commands['latentlab promote']} --stale-ok")  # the checkout has no DVC repository
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = shell(commands["mlflow models"].replace("8080", str(port)), wait=False)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not answers(address):
            assert process.poll() is None, (champion[1] / "serve.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(address):
    try:
        return requests.get(f"{address}/ping", timeout=5).ok
    except requests.ConnectionError:
        return False


def post(address, data, content_type="application/json"):
    text = data if isinstance(data, str | bytes) else json.dumps(data)
    headers = {"Content-Type": content_type}
    return requests.post(f"{address}/invocations", text, headers=headers, timeout=60)


def test_answers_equal_the_outputs_of_the_model_in_memory(server, champion):
    classifier, _ = champion
    with torch.inference_mode():
        probabilities = classifier(IMAGES).softmax(1).numpy()

    answer = post(server, VALID)

    assert answer.status_code == 200, answer.text
    rows = answer.json()["predictions"]
    served = [[row[f"p({name})"] for name in INFO.classes] for row in rows]
    np.testing.assert_array_equal(np.array(served, np.float32), probabilities)
    assert [row["class"] for row in rows] == [INFO.classes[i] for i in probabilities.argmax(1)]


def test_the_request_of_the_guide_is_answered(server, shell, commands, champion):
    shell(commands["mlflow artifacts"])
    request = commands["curl -sS"].replace("http://127.0.0.1:8080", server)

    rows = json.loads(shell(request))["predictions"]

    assert [set(row) for row in rows] == [{"class", *(f"p({name})" for name in INFO.classes)}] * 2


IMAGE = IMAGES[0].tolist()
INVALID = {
    "wrong size": {"inputs": IMAGES[:, :, :7].tolist()},
    "no batch": {"inputs": IMAGE},
    "flat": {"inputs": IMAGES.flatten(1).tolist()},
    "ragged": {"inputs": [IMAGE, [[row[:3] for row in IMAGE[0]]]]},
    "no image": {"inputs": []},
    "scalar": {"inputs": 0.5},
    "text": {"inputs": "image"},
    "text instead of pixels": {"inputs": [[[["white"] * 8] * 8]]},
    "null instead of pixels": {"inputs": [[[[None] * 8] * 8]]},
    "objects": {"inputs": [{"image": IMAGE}]},
    "bytes": {"inputs": [[[[255] * 8] * 8]]},
    "NaN": {"inputs": [[[[float("nan")] * 8] * 8]]},
    "infinity": {"inputs": [[[[float("inf")] * 8] * 8]]},
    "unknown key": {"images": [IMAGE]},
    "two keys": {"inputs": [IMAGE], "instances": [IMAGE]},
    "list": [IMAGE],
    "table": {"dataframe_records": [{"class": "one"}]},
    "malformed JSON": '{"inputs": [[[',
    "not UTF-8": b"\xff\xfe",
    "nothing": "",
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_request_is_rejected_and_the_server_keeps_running(server, case):
    answer = post(server, INVALID[case])

    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:2000])
    assert post(server, VALID).status_code == 200


def test_an_unknown_content_type_is_rejected(server):
    assert post(server, VALID, "text/html").status_code == 415


def test_a_rejected_request_is_told_the_reason(server):
    answer = post(server, INVALID["bytes"])

    assert "Pixels are from 255 to 255. Allowed: 0 to 1." in answer.json()["message"]


def test_the_python_code_of_the_guide_runs(server, champion, page, capsys, monkeypatch):
    _, root = champion
    monkeypatch.chdir(root)
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    code = "".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    variables = {}

    exec(code, variables)

    assert capsys.readouterr().out.endswith(" 2\n")
    assert variables["model"].metadata.model_id == variables["best"].model_id


def test_the_container_is_built_from_the_lock_and_the_downloaded_model(repository, commands):
    copied = re.findall(r"^COPY (\S+)", (repository / "Dockerfile").read_text(), re.MULTILINE)
    ignored, *kept = (repository / ".dockerignore").read_text().split()

    assert copied == ["requirements.lock", "served"]
    assert (ignored, kept) == ("*", [f"!{name}" for name in copied])
    assert commands["mlflow artifacts"].endswith("-d served")


def test_a_rollback_restores_the_previous_champion(server, shell, commands):
    output = shell(commands["latentlab rollback"])

    assert output.split()[-3:] == ["latentlab-classifier", "2", "1"]
