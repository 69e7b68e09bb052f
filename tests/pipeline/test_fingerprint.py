import shutil

import pytest

from latentlab.common.errors import ParamsError
from latentlab.common.files import write_json, write_text
from latentlab.params.load import load_params
from latentlab.params.resolve import with_values
from latentlab.params.yaml_io import read_yaml
from latentlab.pipeline import fingerprint as module
from latentlab.pipeline.fingerprint import similar_studies, stage_fingerprint, study_folder


@pytest.fixture
def project(checkout, tmp_path, monkeypatch):
    """A checkout after fetch and search, with its own copy of the package."""
    source = tmp_path / "src"
    shutil.copytree(module.SOURCE / "latentlab", source / "latentlab")
    monkeypatch.setattr(module, "SOURCE", source)
    write_json(checkout.outputs("fetch") / "dataset.json", {"digest": "a"})
    write_text(checkout.outputs("search") / "best_params.yaml", "train.learning_rate: 0.001\n")
    return checkout


@pytest.fixture
def params(project):
    return load_params(project.params)


def fingerprint(project, params, stage="train", changes=None):
    return stage_fingerprint(project, stage, with_values(params, changes or {}))


def edit(module_name):
    """Append a line to a module of the package."""
    path = module.SOURCE / "latentlab" / module_name
    path.write_text(path.read_text() + "\n")


def test_it_is_a_sha256_hash_that_differs_between_stages(project, params):
    stages = [name for name in read_yaml(project.root / "dvc.yaml")["stages"] if name != "compare"]
    stages += [f"compare@{name}" for name in params.compare]

    fingerprints = [fingerprint(project, params, stage) for stage in stages]

    assert fingerprints == [fingerprint(project, params, stage) for stage in stages]
    assert len(set(fingerprints)) == len(stages)
    assert all(len(bytes.fromhex(each)) == 32 for each in fingerprints)


def test_only_parameters_that_dvc_yaml_declares_for_the_stage_matter(project, params):
    before = fingerprint(project, params)

    for name, value in {
        "train.epochs": 7,
        "train.model.dropout": 0.25,
        "runtime.seed": 9,
    }.items():
        assert fingerprint(project, params, changes={name: value}) != before, name
    for name, value in {
        "vae.epochs": 7,
        "search.trials": 1,
        "runtime.threads": 1,
        "compare.depth.epochs": 3,
    }.items():
        assert fingerprint(project, params, changes={name: value}) == before, name


def test_only_its_own_entry_of_a_foreach_stage_matters(project, params):
    change = {"compare.depth.epochs": 3}

    for stage, changed in (("compare@depth", True), ("compare@optimizer", False)):
        before = fingerprint(project, params, stage)
        assert (fingerprint(project, params, stage, change) != before) is changed, stage


def test_editing_a_module_that_dvc_yaml_lists_changes_it(project, params):
    for name in ("training/loop.py", "stages/train.py", "pipeline/jobs.py"):
        before = fingerprint(project, params)
        edit(name)
        assert fingerprint(project, params) != before, name


def test_editing_a_module_that_dvc_yaml_does_not_list_leaves_it_unchanged(project, params):
    before = fingerprint(project, params)

    for name in ("commands/doctor.py", "common/errors.py", "tracking/run.py", "stages/gan.py"):
        edit(name)

    assert fingerprint(project, params) == before


def test_renaming_a_listed_module_changes_it(project, params):
    before = fingerprint(project, params)
    source = module.SOURCE / "latentlab" / "training" / "loop.py"
    source.rename(source.with_name("lap.py"))

    assert fingerprint(project, params) != before


def test_compiled_code_does_not_matter(project, params):
    before = fingerprint(project, params)
    cache = module.SOURCE / "latentlab" / "training" / "__pycache__"
    cache.mkdir(exist_ok=True)
    # a second process may leave a temporary name
    for name in ("new.cpython-311.pyc", "new.cpython-311.pyc.139862"):
        (cache / name).write_bytes(b"anything")

    assert fingerprint(project, params) == before


def test_the_output_of_an_earlier_stage_matters_where_it_is_declared(project, params):
    before = {stage: fingerprint(project, params, stage) for stage in ("train", "vae")}
    write_text(project.outputs("search") / "best_params.yaml", "train.learning_rate: 0.002\n")

    assert fingerprint(project, params, "train") != before["train"]
    assert fingerprint(project, params, "vae") == before["vae"]


def test_images_matter_through_the_hash_in_dataset_json_only(project, params):
    before = fingerprint(project, params)
    write_text(project.outputs("fetch") / "train" / "images.npy", "anything")
    assert fingerprint(project, params) == before

    write_json(project.outputs("fetch") / "dataset.json", {"digest": "b"})
    assert fingerprint(project, params) != before


def test_the_version_of_torch_matters(project, params, monkeypatch):
    before = fingerprint(project, params)
    monkeypatch.setattr(module, "version", lambda package: "0.1")

    assert fingerprint(project, params) != before


def test_a_stage_that_dvc_yaml_does_not_declare_is_an_error(project, params, message):
    pipeline = project.root / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("  train:\n", "  trained:\n"))

    with pytest.raises(ParamsError) as error:
        stage_fingerprint(project, "train", params)

    message("pipeline/stage missing in dvc.yaml", error.value)


class TestStudyFolder:
    """Each study has a folder whose name identifies everything that determines its trials."""

    @pytest.fixture
    def folder(self, project, params):
        def study_folder_with(section="search", **changes):
            stage = section.partition(".")[0]
            changed = {f"{section}.{name}": value for name, value in changes.items()}
            return study_folder(project, stage, section, with_values(params, changed))

        return study_folder_with

    def test_the_order_of_ranges_and_objectives_matters(self, folder, params):
        space = params.tree()["search"]["space"]
        objectives = {"validation/mse": "minimize", "parameters": "minimize"}

        def of(space, objectives):
            return folder(space=space, objectives=objectives, pruner="none")

        def reverse(mapping):
            return dict(reversed(mapping.items()))

        folders = [
            of(space, objectives),
            of(reverse(space), objectives),
            of(space, reverse(objectives)),
        ]
        assert of(dict(space), dict(objectives)) == folders[0]
        assert len(set(folders)) == 3

    def test_the_tolerance_does_not_matter(self, folder):
        assert folder(tolerance=0.5) == folder()

    def test_studies_that_differ_only_in_their_number_of_trials_are_similar(self, folder):
        short, long, other = folder(trials=5), folder(trials=50), folder(trials=5, epochs=3)
        for each in (short, long, other):
            each.mkdir(parents=True)

        assert similar_studies(short) == [long]
        assert similar_studies(long) == [short]
        assert similar_studies(other) == []


class TestStudyFolderOfFinetune:
    @pytest.fixture
    def folder(self, project, params):
        def folder_of(space, **changes):
            study = {"trials": 4, "epochs": 3, "max_train_images": 100, "space": space}
            changed = {f"finetune.{name}": value for name, value in changes.items()}
            values = {"finetune.search": study} | changed
            return study_folder(project, "finetune", "finetune.search", with_values(params, values))

        return folder_of

    def test_trainings_that_use_the_result_do_not_matter(self, folder):
        space = {"finetune.learning_rate": {"type": "float", "low": 0.001, "high": 0.01}}

        for name, value in {
            "epochs": 9,
            "patience": 2,
            "scratch_baseline": True,
            "label_efficiency": None,
        }.items():
            assert folder(space, **{name: value}) == folder(space), name
        for name, value in {
            "search.epochs": 2,
            "search.trials": 3,
            "weight_decay": 0.5,
        }.items():
            assert folder(space, **{name: value}) != folder(space), name

    def test_a_searched_parameter_of_the_final_training_may_exceed_the_budget_of_a_trial(
        self, folder
    ):
        space = {"finetune.prune_epochs": {"type": "categorical", "choices": [[1], [2]]}}
        final = {"prune_fraction": 0.2, "label_efficiency": None}

        assert folder(space, prune_epochs=[15], **final) == folder(space, prune_epochs=[2], **final)
