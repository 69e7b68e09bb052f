import subprocess

import pytest

from crafting import copy_checkout
from latentlab.commands.doctor import examine
from latentlab.common.project import find_project


@pytest.fixture
def findings(checkout, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def examined():
        return {finding.subject: finding for finding in examine(checkout)}

    return examined


def test_a_good_machine_is_told_as_such(findings):
    found = findings()

    for subject in ("Python", "packages", "device", "params.yaml", "MLflow store"):
        assert not found[subject].advice, found[subject].line
        assert found[subject].line.startswith("ok ")


def test_missing_data_is_fatal_and_says_how_to_get_it(findings):
    found = findings()["data"]

    assert found.fatal
    assert "dvc pull data.dvc" in found.line


def test_mistakes_in_params_are_told_with_their_lines(findings, checkout):
    text = checkout.params.read_text()
    checkout.params.write_text(text.replace("seed: 0", "seed: none"))
    found = findings()["params.yaml"]

    assert found.fatal
    assert "runtime.seed = 'none'" in found.line


@pytest.mark.parametrize(
    ("written", "changed", "subject", "told"),
    [
        ("device: auto", "device: mps", "device", "runtime.device = 'mps' is not available here"),
        ("name: digits", "name: digit", "dataset", "did you mean 'digits'?"),
    ],
)
def test_what_params_ask_for_and_is_not_there_is_fatal(
    findings, checkout, written, changed, subject, told
):
    checkout.params.write_text(checkout.params.read_text().replace(written, changed, 1))
    found = findings()[subject]

    assert found.fatal
    assert told in found.line


def test_a_damaged_dataset_is_fatal(findings, checkout):
    (checkout.data / "digits").mkdir(parents=True)
    found = findings()["dataset"]

    assert found.fatal
    assert "files are not the official ones; `dvc checkout --force data.dvc`" in found.line


def test_a_file_that_cannot_be_read_does_not_end_the_examination(findings, monkeypatch):
    def _locked(project):
        raise PermissionError(13, "Permission denied", "params.yaml")

    monkeypatch.setattr("latentlab.commands.doctor._parameters", _locked)
    found = findings()

    assert found["locked"].fatal
    assert "params.yaml: Permission denied" in found["locked"].line
    assert found["MLflow store"]


def test_a_package_that_is_missing_does_not_end_the_examination(findings, monkeypatch):
    def missing(project):
        raise ImportError("No module named 'torch'")

    missing.__name__ = "_device"
    monkeypatch.setattr("latentlab.commands.doctor._device", missing)
    found = findings()

    assert found["device"].fatal
    assert "run `make`" in found["device"].line
    assert "disk" in found


def test_what_dvc_cannot_do_is_told_in_its_words(repository, tmp_path, monkeypatch):
    root = tmp_path / "broken"
    copy_checkout(repository, root, leave_out=["dvc.lock"])
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / "dvc.yaml").write_text("stages: {fetch: 3}\n")
    monkeypatch.chdir(root)
    found = {finding.subject: finding for finding in examine(find_project())}

    assert "Git" not in found
    assert found["DVC pipeline"].fatal
    assert "dvc.yaml" in found["DVC pipeline"].found


def test_a_checkout_that_git_does_not_know_is_fatal(findings):
    assert "is no repository" in findings()["Git"].line


def test_a_package_of_another_version_than_the_lock_says_is_told(findings, checkout):
    (checkout.root / "requirements.lock").write_text("torch==1.2.3 \\\n    --hash=sha256:0\n")
    found = findings()["packages"]

    assert "1.2.3 in requirements.lock" in found.line
    assert not found.fatal
