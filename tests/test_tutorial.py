"""Every command of docs/tutorial.md runs, in its order, in a real checkout with small budgets."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crafting import copy_checkout
from small_budgets import SMALL, edit_params

pytestmark = pytest.mark.slow

SECONDS = 1800
GIT_USER = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "reader"), ("EMAIL", "reader@example.org"))
}
START_AND_STOP_THE_SERVER = """\
timeout 600 latentlab ui --port {port} &
server=$!
until python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/health')"
do sleep 0.5; kill -0 $server; done 2>/dev/null
kill $server
"""


@pytest.fixture
def clone(repository, tmp_path):
    """A clone with small budgets, whose environment counts as built."""
    root = tmp_path / "latentlab"
    root.mkdir()
    copy_checkout(repository, root)
    tracked = ["git", "ls-files", "outputs"]
    listed = subprocess.run(tracked, cwd=repository, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\n")[:-1]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, root / name)
    edit_params(root / "params.yaml", SMALL)
    environment = root / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".ready":
            (environment / entry.name).symlink_to(entry)
    (environment / ".ready").touch()
    for command in ("git init -q", "git add -A", "git commit -qm clone"):
        subprocess.run(command.split(), cwd=root, env=os.environ | GIT_USER, check=True)
    return root


def tutorial_script(repository, port):
    """Return the shell blocks of the tutorial as one script that stops at the first error."""
    text = (repository / "docs" / "tutorial.md").read_text()
    script = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert script.count("latentlab ui\n") == 1
    script = script.replace("latentlab ui\n", START_AND_STOP_THE_SERVER.format(port=port))
    # small budgets give metrics worse than the accepted ones, so the first verdict is exit code 1
    script = script.replace("latentlab gate\n", "latentlab gate || test $? -eq 1\n", 1)
    return f"set -ex\n{script}"


def free_port():
    """Return a port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_reader_can_run_every_command(clone, repository):
    hidden = ("MLFLOW_", "DVC_", "LATENTLAB_", "GIT_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    environment |= GIT_USER | {"PYTHONPATH": str(clone / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", tutorial_script(repository, free_port())],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    stages = re.findall(r"Running stage '([\w@]+)'", done.stdout)
    assert len(stages) == len(set(stages)) + 3
    assert stages[-3:] == [
        "vae",
        "evaluate",
        "report",
    ]  # all that the change affects, and only once
