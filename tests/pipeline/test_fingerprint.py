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
    """A checkout that has data_dir and searched, with a package of its own."""
    package = shutil.copytree(module.PACKAGE, tmp_path / "latentlab")
    monkeypatch.setattr(module, "PACKAGE", package)
    write_json(checkout.outputs("fetch") / "dataset.json", {"digest": "a"})
    write_text(checkout.outputs("search") / "best_params.yaml", "train.learning_rate: 0.001\n")
    return checkout


@pytest.fixture
def params(project):
    return load_params(project.params)


def key(project, params, stage="train", **changes):
    return stage_fingerprint(project, stage, with_values(params, changes))


def test_it_is_a_sha256_and_the_same_for_the_same(project, params):
    assert key(project, params) == key(project, params)
    assert len(bytes.fromhex(key(project, params))) == 32


@pytest.mark.parametrize(
    "change",
    [{"train.epochs": 7}, {"train.model.dropout": 0.25}, {"runtime.seed": 9}],
    ids=lambda change: next(iter(change)),
)
def test_it_changes_with_a_parameter_of_the_stage(project, params, change):
    assert key(project, params, **change) != key(project, params)


@pytest.mark.parametrize(
    "change",
    [{"vae.epochs": 7}, {"gan.epochs": 7}, {"search.trials": 1}, {"runtime.threads": 1}],
    ids=lambda change: next(iter(change)),
)
def test_it_does_not_change_with_another_section(project, params, change):
    assert key(project, params, **change) == key(project, params)


def test_the_study_of_the_head_is_not_that_of_what_is_trained_with_what_it_finds(project, params):
    """It goes on where the final training, or what is trained beside it, has another budget."""
    space = {"finetune.learning_rate": {"type": "float", "low": 0.001, "high": 0.01}}
    study = {"trials": 4, "epochs": 3, "images": 100, "space": space}
    params = with_values(params, {"finetune.search": study})

    def folder(changes):
        changed = with_values(params, changes)
        return study_folder(project, "finetune", "finetune.search", changed)

    same = {"finetune.epochs": 9, "finetune.patience": 2, "finetune.scratch_baseline": True}
    for change in (
        *({name: value} for name, value in same.items()),
        {"finetune.label_efficiency": None},
    ):
        assert folder(change) == folder({}), change
    assert folder({"finetune.search.epochs": 2}) != folder({})
    assert folder({"finetune.search.trials": 3}) != folder({})
    assert folder({"finetune.weight_decay": 0.5}) != folder({})


def test_pruning_of_the_final_training_alone_may_come_after_the_last_epoch_of_a_trial(
    project, params
):
    space = {"finetune.prune_epochs": {"type": "categorical", "choices": [[1], [2]]}}
    study = {"trials": 2, "epochs": 3, "images": 100, "space": space}
    final = {"finetune.prune_fraction": 0.2, "finetune.label_efficiency": None}

    def folder(epochs):
        changes = {"finetune.search": study, "finetune.prune_epochs": epochs} | final
        changed = with_values(params, changes)
        return study_folder(project, "finetune", "finetune.search", changed)

    assert folder([15]) == folder([2])


def test_studies_that_differ_in_their_number_of_trials_alone_know_of_each_other(project, params):
    def folder(**changes):
        changed = {f"search.{name}": value for name, value in changes.items()}
        made = study_folder(project, "search", "search", with_values(params, changed))
        made.mkdir(parents=True, exist_ok=True)
        return made

    short, long, other = folder(trials=5), folder(trials=50), folder(trials=5, epochs=3)

    assert similar_studies(short) == [long]
    assert similar_studies(long) == [short]
    assert similar_studies(other) == []


def test_it_changes_with_what_fetch_wrote(project, params):
    before = key(project, params)
    write_json(project.outputs("fetch") / "dataset.json", {"digest": "b"})

    assert key(project, params) != before


def test_it_changes_with_what_the_search_found_where_that_is_declared(project, params):
    before = {stage: key(project, params, stage) for stage in ("train", "vae")}
    write_text(project.outputs("search") / "best_params.yaml", "train.learning_rate: 0.002\n")

    assert key(project, params, "train") != before["train"]
    assert key(project, params, "vae") == before["vae"]


def test_it_changes_with_a_source_file(project, params):
    before = key(project, params)
    source = module.PACKAGE / "training" / "loop.py"
    source.write_text(source.read_text() + "\n")

    assert key(project, params) != before


def test_it_changes_with_the_name_of_a_source_file(project, params):
    before = key(project, params)
    source = module.PACKAGE / "training" / "loop.py"
    source.rename(source.with_name("lap.py"))

    assert key(project, params) != before


def test_compiled_code_does_not_count(project, params):
    before = key(project, params)
    cache = module.PACKAGE / "__pycache__"
    cache.mkdir(exist_ok=True)
    # another process writes under the second name first
    for name in ("new.cpython-311.pyc", "new.cpython-311.pyc.139862"):
        (cache / name).write_bytes(b"anything")

    assert key(project, params) == before


def test_it_changes_with_the_version_of_torch(project, params, monkeypatch):
    before = key(project, params)
    monkeypatch.setattr(module, "version", lambda package: "0.1")

    assert key(project, params) != before


def test_the_stages_of_dvc_yaml_all_have_one_of_their_own(project, params):
    stages = [name for name in read_yaml(project.root / "dvc.yaml")["stages"] if name != "compare"]
    stages += [f"compare@{name}" for name in params.compare]

    assert len({key(project, params, stage) for stage in stages}) == len(stages)


def test_a_comparison_has_its_own_entry_alone(project, params):
    change = {"compare.depth.epochs": 3}

    assert key(project, params, "compare@depth") != key(project, params, "compare@depth", **change)
    assert key(project, params, "compare@optimizer") == key(
        project, params, "compare@optimizer", **change
    )


def test_the_pixels_themselves_are_not_read(project, params):
    """Their hash is in dataset.json."""
    before = key(project, params)
    write_text(project.outputs("fetch") / "train" / "images.npy", "anything")

    assert key(project, params) == before


def test_a_pipeline_without_the_stage_is_told_to_be_brought_back(project, params):
    pipeline = project.root / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("  train:", "  trained:"))

    with pytest.raises(ParamsError, match=r"the stage train .*`git checkout dvc.yaml`"):
        stage_fingerprint(project, "train", params)


def test_the_order_of_ranges_and_of_objectives_makes_another_study(project, params):
    def folder(space, objectives):
        study = {"search.space": space, "search.objectives": objectives, "search.pruner": "none"}
        return study_folder(project, "search", "search", with_values(params, study))

    space = params.tree()["search"]["space"]
    objectives = {"validation/mse": "minimize", "parameters": "minimize"}
    turned = [dict(reversed(each.items())) for each in (space, objectives)]

    assert folder(space, objectives) == folder(dict(space), dict(objectives))
    assert len({folder(s, o) for s in (space, turned[0]) for o in (objectives, turned[1])}) == 4
