import pytest

from latentlab.common.errors import ParamsError
from latentlab.common.project import find_project


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "deep" / "down").mkdir(parents=True)
    return tmp_path


def test_the_repository_is_found_from_any_folder_inside_it(root, monkeypatch):
    monkeypatch.chdir(root / "deep" / "down")

    project = find_project()

    assert project.root == project.home == root
    assert project.outputs("train") == root / "outputs" / "train"


def test_an_experiment_in_a_copy_stores_its_runs_in_the_original_repository(
    root, monkeypatch, tmp_path_factory
):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_ROOT", str(home))

    project = find_project()

    assert project.root == root
    assert project.home == home


def test_checkpoints_are_stored_outside_the_outputs_that_dvc_deletes(
    root, monkeypatch, tmp_path_factory
):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_ROOT", str(home))

    first, other = (find_project().checkpoints("train", letter * 64) for letter in "ab")

    assert first != other
    assert first.parent == other.parent == home / ".latentlab" / "checkpoints"
    assert first.name == f"train-{'a' * 20}"


def test_every_stage_and_every_comparison_has_its_own_output_folder(root, monkeypatch):
    monkeypatch.chdir(root)
    project = find_project()
    assert project.output_folders() == []
    written = ("compare/depth", "compare/latent_dim", "fetch", "train")
    for stage in reversed(written):
        project.outputs(stage).mkdir(parents=True)
    (root / "outputs" / "notes.txt").touch()

    assert project.output_folders() == [root / "outputs" / stage for stage in written]


def test_a_folder_outside_a_repository_is_rejected(tmp_path, monkeypatch, message):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ParamsError) as caught:
        find_project()

    message("common/project: outside a repository", caught.value)
