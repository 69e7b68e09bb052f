import re
import shutil

import pytest

from gated import write_results
from latentlab.commands.profile import apply_profile
from latentlab.common.errors import ParamsError
from latentlab.common.files import write_json
from latentlab.gate.provenance import describe_run, find_profile, input_fingerprint
from latentlab.params.load import load_params


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist", "report-r0", "report-r4"])
def test_the_profile_is_recognized_by_its_settings(checkout, name):
    apply_profile(checkout, "digits")
    apply_profile(checkout, name)

    assert find_profile(checkout) == name


def test_a_profile_that_is_applied_after_another_is_recognized(checkout):
    apply_profile(checkout, "fashion-mnist")
    apply_profile(checkout, "fashion-mnist-classifier")

    assert find_profile(checkout) == "fashion-mnist-classifier"


def test_a_variant_that_only_adds_values_is_recognized(checkout):
    variant = "data: {name: mnist}\nvae: {free_bits: 0.25}\n"
    (checkout.profiles / "mnist-free-bits.yaml").write_text(variant)
    apply_profile(checkout, "mnist")
    assert find_profile(checkout) == "mnist"

    apply_profile(checkout, "mnist-free-bits")
    assert find_profile(checkout) == "mnist-free-bits"


def test_edits_do_not_change_the_profile(checkout):
    apply_profile(checkout, "fashion-mnist")
    text = checkout.params.read_text()
    checkout.params.write_text(re.sub(r"epochs: \d+", "epochs: 7", text))

    assert find_profile(checkout) == "fashion-mnist"


def test_a_dataset_without_a_profile_is_its_own_profile(checkout):
    text = checkout.params.read_text()
    checkout.params.write_text(text.replace("name: digits", "name: pets", 1))
    assert find_profile(checkout) == "pets"

    shutil.rmtree(checkout.profiles)
    assert find_profile(checkout) == "pets"


def stage(epochs=3, seed=0, source="s", model="m"):
    deps = [{"path": "src/a.py", "md5": source}, {"path": "outputs/model", "md5": model}]
    params = {"params.yaml": {"runtime.seed": seed, "train": {"epochs": epochs}}}
    return {"stages": {"train": {"deps": deps, "params": params}}}


def test_the_profile_of_a_dataset_of_torchvision_can_be_a_file_name(checkout):
    text = checkout.params.read_text()
    checkout.params.write_text(text.replace("name: digits", "name: torchvision/SVHN", 1))

    assert find_profile(checkout) == "torchvision-SVHN"


def test_the_fingerprint_depends_on_everything_but_the_seed(tmp_path):
    def fingerprint(data="d", **changes):
        write_json(tmp_path / "dvc.lock", stage(**changes))
        return input_fingerprint(tmp_path, data)

    reference = fingerprint()
    assert reference == fingerprint(seed=1) == fingerprint(model="other")

    report = {"report": stage(source="other")["stages"]["train"]}
    write_json(tmp_path / "dvc.lock", {"stages": stage()["stages"] | report})
    assert input_fingerprint(tmp_path, "d") == reference

    others = {fingerprint(epochs=4), fingerprint(source="t"), fingerprint("e")}
    assert len(others | {reference}) == 4


@pytest.mark.parametrize("stages", [[], {"train": 1}, {"train": {"deps": [{"path": "src/a.py"}]}}])
def test_a_file_that_is_no_lock_is_an_error(tmp_path, stages):
    write_json(tmp_path / "dvc.lock", {"stages": stages})

    with pytest.raises(ParamsError, match="is not a lock file of DVC; restore it"):
        input_fingerprint(tmp_path, "d")


def test_a_run_outside_git_has_no_commit(checkout):
    write_results(checkout, mse=0.1, name="text")

    run = describe_run(checkout, load_params(checkout.params).tree(), {"mse": 0.1, "name": "text"})

    assert (run.commit, run.dirty, run.metrics) == (None, None, {"mse": 0.1})
    assert run.fingerprint == input_fingerprint(checkout.root, run.data)
