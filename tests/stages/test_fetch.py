import json
import shutil
from itertools import count

import mlflow
import pytest
from PIL import Image

from crafting import write_pictures
from latentlab.data.image_set import load_info, load_split
from latentlab.data.sources import RawDataset
from latentlab.stages import fetch

NAMES = ["A+", "A-", "$10_$20", "a,b", "one\ntwo", "חתול", "قطة", "猫", "😀", "_x", "x" * 130]


def test_latent_walks_between_unknown_classes_are_rejected_before_any_training(bench, message):
    for name in ("circles", "squares"):
        write_pictures(bench.project.data / "shapes" / name, 20)
    bench.edit({"data.name": "shapes", "evaluate.walks": [["circles", "nine"]]})

    answer = bench.run("fetch")

    assert answer.code == 2
    message("stages/unknown classes in evaluate.walks", answer.err)


def test_latent_walks_between_classes_are_rejected_without_labels(bench, message, monkeypatch):
    raw = RawDataset((), {}, {})
    monkeypatch.setattr(fetch, "read_dataset", lambda *arguments: raw)
    bench.edit({"evaluate.walks": [["circles", "squares"]]})

    answer = bench.run("fetch")

    assert answer.code == 2
    message("stages/walks between classes without labels", answer.err)


def test_any_class_name_is_accepted_and_listed_in_the_data_card(bench):
    for seed, name in enumerate(NAMES):
        write_pictures(bench.project.data / "names" / name, 8, seed=seed)
    bench.edit({"data.name": "names"})

    answer = bench.run("fetch")

    assert answer.code == 0, answer.err
    output = bench.project.outputs("fetch")
    assert load_info(output).classes == sorted(NAMES)
    assert (output / "plots" / "classes.png").exists()
    card = (output / "data_card.md").read_text(encoding="utf-8")
    for number, name in enumerate(["\\$10\\_\\$20", "A+", "A-", "\\_x", "a,b", "one two"]):
        assert f"\n| {number} | {name} | " in card


def test_more_than_20_classes_are_shown_with_one_image_each(bench):
    for number in range(21):
        write_pictures(bench.project.data / "many" / f"class {number}", 8, seed=number)
    bench.edit({"data.name": "many"})

    assert bench.run("fetch").code == 0
    with Image.open(bench.project.outputs("fetch") / "plots" / "classes.png") as picture:
        assert picture.width > 20 * 100
        assert picture.height < 2 * 300


def test_duplicates_of_user_images_are_reported_and_get_into_one_split(bench, message):
    folder = bench.project.data / "shapes"
    for seed, name in enumerate(("circles", "squares")):
        write_pictures(folder / name, 20, seed=seed)
    for number in range(10):
        shutil.copy(folder / "circles" / f"{number}.png", folder / "circles" / f"copy{number}.png")
    shutil.copy(folder / "circles" / "0.png", folder / "squares" / "circle.png")
    bench.edit({"data.name": "shapes"})

    answer = bench.run("fetch")

    assert answer.code == 0
    message("stages/duplicates in a folder", answer.err.splitlines()[0])
    output = bench.project.outputs("fetch")
    message("stages/data card of a folder", (output / "data_card.md").read_text())
    splits = [load_split(output, name).images for name in ("train", "validation", "test")]
    different = [{image.numpy().tobytes() for image in split} for split in splits]
    assert sum(map(len, splits)) == 51
    assert sum(map(len, different)) == len(set.union(*different)) == 40
    client = mlflow.MlflowClient(f"sqlite:///{bench.project.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("latentlab/shapes")
    (run,) = client.search_runs([experiment.experiment_id])
    assert "data_card.md" in [file.path for file in client.list_artifacts(run.info.run_id)]


@pytest.fixture
def shapes(bench):
    """A folder with given splits, and two files that are not images."""
    folder = bench.project.data / "shapes"
    seeds = count()
    for split, images in {"train": 12, "val": 4, "test": 4}.items():
        for name in ("circles", "squares"):
            write_pictures(folder / split / name, images, seed=next(seeds))
    (folder / "train/circles/.DS_Store").touch()
    (folder / "README.md").touch()
    bench.edit({"data.name": "shapes"})
    return folder


def info(bench):
    return json.loads((bench.project.outputs("fetch") / "dataset.json").read_text())


def test_given_splits_are_used_and_ignored_files_are_reported(bench, shapes):
    answer = bench.run("fetch")

    assert answer.code == 0, answer.err
    assert info(bench)["sizes"] == {"train": 24, "validation": 8, "test": 8}
    assert f"{shapes}: 40 images; ignored: 1 hidden, 1 not images." in answer.err


def test_a_label_file_defines_classes_and_splits(bench, shapes):
    files = sorted(file.relative_to(shapes) for file in shapes.rglob("*.png"))
    lines = [f"{file},{'odd' if int(file.stem) % 2 else 'even'}" for file in files]
    (shapes / "labels.csv").write_text("\n".join(["file,label", *lines]))
    bench.edit({"data.labels": "labels.csv"})

    answer = bench.run("fetch")

    assert answer.code == 0, answer.err
    assert info(bench)["classes"] == ["even", "odd"]
    assert sum(info(bench)["sizes"].values()) == 40


def test_nothing_is_written_if_a_file_is_damaged(bench, shapes):
    before = info(bench)
    (shapes / "test/circles/9.png").write_bytes(b"")

    answer = bench.run("fetch")

    assert answer.code == 3
    assert f"{shapes}/test/circles/9.png: the file is empty" in answer.err
    assert info(bench) == before


@pytest.mark.parametrize(
    ("key", "value"), [("labels", "../labels.csv"), ("labels", "folder"), ("scale", [5, 5])]
)
def test_invalid_settings_are_rejected(bench, shapes, message, key, value):
    bench.edit({f"data.{key}": value})

    answer = bench.run("fetch", "--dry-run")

    assert answer.code == 2
    message(f"stages/fetch: data.{key} = {value}", answer.err)
