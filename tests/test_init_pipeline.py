"""With the profile that `latentlab init` writes, every model is better than its baseline."""

import json
import shutil

import pytest

from benchmarks.own_images import write_photo_patches

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # SQLAlchemy, in a query of MLflow
]

STAGES = ["fetch", "search", "train", "denoise", "finetune", "reference", "vae", "gan", "evaluate"]


def test_no_stage_is_below_its_baseline_on_patches_of_photographs(checkout, latentlab, empty_store):
    shutil.copy(empty_store, checkout.home)
    write_photo_patches(checkout.data / "patches")
    for command in (["init", "patches"], ["profile", "patches"], *([stage] for stage in STAGES)):
        answer = latentlab(*command)
        assert answer.code == 0, (command, answer.err)

    below = {}
    for path in checkout.root.glob("outputs/*/diagnosis.json"):
        compared = json.loads(path.read_text())["baselines"]
        below |= {each["name"]: each for each in compared if each["below"]}
    assert not below
