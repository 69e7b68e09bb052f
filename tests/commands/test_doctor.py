import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

from crafting import copy_checkout
from latentlab.commands.doctor import examine
from latentlab.common.project import find_project
from latentlab.tracking.store import connect


@pytest.fixture
def findings(checkout, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def examine_checkout():
        return {finding.subject: finding for finding in examine(checkout)}

    return examine_checkout


@pytest.fixture
def edit(checkout):
    def replace(old, new):
        checkout.params.write_text(checkout.params.read_text().replace(old, new, 1))

    return replace


def test_a_working_environment_has_no_advice(findings):
    results = findings()

    for subject in ("Python", "packages", "device", "params.yaml", "MLflow store"):
        assert not results[subject].advice, results[subject].line
        assert results[subject].line.startswith("ok ")


def test_missing_data_is_fatal(findings, message):
    finding = findings()["data"]

    assert finding.fatal
    message("doctor/missing data", finding.line)


def test_a_mistake_in_params_yaml_is_fatal(findings, edit):
    edit("  seed: 0", "  seed: none")
    finding = findings()["params.yaml"]

    assert finding.fatal
    assert "runtime.seed = 'none'" in finding.line


def test_an_unavailable_device_is_fatal(findings, edit):
    edit("device: auto", "device: mps")
    finding = findings()["device"]

    assert finding.fatal
    assert "'mps' is not available" in finding.line


def test_an_unknown_dataset_is_fatal(findings, edit):
    edit("name: digits", "name: digit")
    finding = findings()["dataset"]

    assert finding.fatal
    assert "Did you mean 'digits'?" in finding.line


def test_a_damaged_dataset_is_fatal(findings, checkout, message):
    (checkout.data / "digits").mkdir(parents=True)
    finding = findings()["dataset"]

    assert finding.fatal
    message("doctor/damaged dataset", finding.line)


def test_a_wrong_folder_in_the_environment_variable_is_fatal(
    findings, checkout, monkeypatch, message
):
    checkout.data.mkdir()
    monkeypatch.setenv("LATENTLAB_DATA", "/nowhere")
    finding = findings()["LATENTLAB_DATA"]

    assert finding.fatal
    message("doctor/LATENTLAB_DATA is not a folder", finding.line)


def test_an_unreadable_file_does_not_end_the_other_checks(findings, monkeypatch, message):
    def _parameters(project):
        raise PermissionError(13, "Permission denied", "params.yaml")

    monkeypatch.setattr("latentlab.commands.doctor._parameters", _parameters)
    results = findings()

    assert results["parameters"].fatal
    message("doctor/unreadable file", results["parameters"].line)
    assert "MLflow store" in results


def test_a_missing_package_does_not_end_the_other_checks(findings, monkeypatch, message):
    def _device(project):
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr("latentlab.commands.doctor._device", _device)
    results = findings()

    assert results["device"].fatal
    message("doctor/missing package", results["device"].line)
    assert "disk" in results


def test_an_error_of_dvc_is_shown(repository, tmp_path, monkeypatch):
    root = tmp_path / "broken"
    copy_checkout(repository, root, leave_out=["dvc.lock"])
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / "dvc.yaml").write_text("stages: {fetch: 3}\n")
    monkeypatch.chdir(root)
    results = {finding.subject: finding for finding in examine(find_project())}

    assert "Git" not in results
    assert results["DVC pipeline"].fatal
    assert "dvc.yaml" in results["DVC pipeline"].result


def test_a_folder_without_git_is_fatal(findings, message):
    message("doctor/no Git repository", findings()["Git"].line)


def test_another_version_than_in_the_lock_file_is_a_warning(findings, checkout):
    (checkout.root / "requirements.lock").write_text("torch==1.2.3 \\\n    --hash=sha256:0\n")
    finding = findings()["packages"]

    assert "1.2.3 in requirements.lock" in finding.line
    assert finding.advice
    assert not finding.fatal


def test_a_copied_store_is_reported_and_repaired(checkout, findings, empty_store, latentlab):
    shutil.copy(empty_store, checkout.home)
    connect(checkout, "latentlab/digits")
    with closing(sqlite3.connect(checkout.home / "mlflow.db")) as store, store:
        store.execute("UPDATE experiments SET artifact_location = 'file:///original/mlruns'")
    assert "file:///original/mlruns" in findings()["MLflow artifacts"].line

    assert "MLflow artifacts" not in latentlab("doctor", "--fix").out

    with closing(sqlite3.connect(checkout.home / "mlflow.db")) as store:
        locations = store.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    assert locations == [((checkout.home / "mlruns").as_uri(),)]


@pytest.mark.usefixtures("findings")
def test_a_damaged_store_is_reported_and_not_repaired(checkout, latentlab):
    (checkout.home / "mlflow.db").write_text("this is not a database" * 100)

    assert "file is not a database" in latentlab("doctor", "--fix").out
