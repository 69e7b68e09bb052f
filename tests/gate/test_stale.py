"""Stale results are found by DVC itself, in a small pipeline."""

import shutil
from contextlib import chdir

import pytest
from dvc.repo import Repo

from latentlab.common.errors import ParamsError
from latentlab.gate.stale import check_current, find_stale

PIPELINE = """\
stages:
  train:
    cmd: cp data/images model
    deps: [data, src]
    params: [epochs]
    outs: [model]
  evaluate:
    cmd: cp model metrics.json
    deps: [model, src]
    metrics:
      - metrics.json:
          cache: false
"""


@pytest.fixture(scope="session")
def finished_pipeline(tmp_path_factory):
    """A finished pipeline of two stages, as a folder to copy."""
    root = tmp_path_factory.mktemp("pipeline")
    files = {
        "dvc.yaml": PIPELINE,
        "params.yaml": "epochs: 3\n",
        "src/code.py": "",
        "data/images": "{}",
        "model": "{}",
        "metrics.json": "{}",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    with chdir(root), Repo.init(no_scm=True) as repo:
        repo.commit(force=True)
    return root


@pytest.fixture
def root(finished_pipeline, tmp_path, monkeypatch):
    folder = tmp_path / "pipeline"
    shutil.copytree(finished_pipeline, folder)
    monkeypatch.chdir(folder)
    return folder


def append(name):
    def change(root):
        with (root / name).open("a") as file:
            file.write(" ")

    return change


def new_stage(root):
    text = "  publish:\n    cmd: touch page\n    outs: [page]\n"
    (root / "dvc.yaml").write_text(PIPELINE + text)


CHANGES = {
    "parameter": lambda root: (root / "params.yaml").write_text("epochs: 4\n"),
    "code": append("src/code.py"),
    "new source file": lambda root: (root / "src" / "new.py").write_text(""),
    "data": append("data/images"),
    "edited metrics": append("metrics.json"),
    "edited model": append("model"),
    "no lock": lambda root: (root / "dvc.lock").unlink(),
    "no outputs": lambda root: (root / "model").unlink(),
    "no metrics": lambda root: (root / "metrics.json").unlink(),
    "command": lambda root: (root / "dvc.yaml").write_text(PIPELINE.replace("cp m", "cp  m")),
    "new stage": new_stage,
    "frozen stage": lambda root: (root / "dvc.yaml").write_text(
        PIPELINE.replace("outs: [model]", "outs: [model]\n    frozen: true")
    ),
    "removed dependency": lambda root: (root / "dvc.yaml").write_text(
        PIPELINE.replace("[model, src]", "[model]")
    ),
    "removed parameter": lambda root: (root / "dvc.yaml").write_text(
        PIPELINE.replace("    params: [epochs]\n", "")
    ),
    "invalid dvc.yaml": lambda root: (root / "dvc.yaml").write_text("stages: ["),
}


def test_a_finished_pipeline_is_current(root):
    assert find_stale(root) == []
    check_current(root)


@pytest.mark.parametrize(("name", "change"), CHANGES.items())
def test_whatever_changed_is_named_with_its_stage(root, message, name, change):
    change(root)

    with pytest.raises(ParamsError) as caught:
        check_current(root)
    message(f"gate/stale: {name}", caught.value)


def test_the_report_may_be_stale_because_it_shows_the_verdict(root):
    text = "  report:\n    cmd: touch report\n    deps: [baselines]\n    outs: [report]\n"
    (root / "dvc.yaml").write_text(PIPELINE + text)
    (root / "baselines").mkdir()

    check_current(root)


def test_all_stages_are_checked_from_any_folder(root, monkeypatch):
    CHANGES["edited model"](root)
    expected = find_stale(root)
    monkeypatch.chdir(root / "data")

    assert find_stale(root) == expected != []


def test_a_folder_without_dvc_is_an_error(root):
    shutil.rmtree(root / ".dvc")

    with pytest.raises(ParamsError, match="not inside of a DVC repository"):
        find_stale(root)


def test_an_edit_that_is_undone_leaves_the_outputs_current(root):
    CHANGES["parameter"](root)
    (root / "params.yaml").write_text("epochs: 3\n")

    assert find_stale(root) == []
