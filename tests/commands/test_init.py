"""`latentlab init`: a profile for a dataset, with the reason of each derived value."""

import re

import numpy as np
import pytest
from PIL import Image

from crafting import write_pictures
from latentlab.commands.data_facts import measure
from latentlab.commands.init import render
from latentlab.params.fields import flatten
from latentlab.params.load import load_params
from latentlab.params.schema import DataParams
from latentlab.params.yaml_io import read_plain


@pytest.fixture
def folder(checkout):
    """A folder data/mine/ with two classes of ten gray images of 20x24 pixels."""
    for seed, name in enumerate(("cats", "dogs")):
        write_pictures(checkout.data / "mine" / name, 10, (20, 24), seed=seed)
    return checkout.data / "mine"


def stripes(folder, count, direction):
    """Write images with a dark triangle in a corner, all on the same side."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(180, 255, (24, 24), dtype=np.uint8)
        height = 12 + number % 8
        pixels[:height, :8] = random.integers(0, 20)
        Image.fromarray(pixels[:, ::direction]).save(folder / f"{number}.png")


class TestProfile:
    def test_it_can_be_merged_and_run(self, folder, checkout, latentlab):
        answer = latentlab("init", "mine")

        assert answer.code == 0, answer.err
        assert answer.out.startswith("20 images, 20x20, gray; 2 classes, at least 7 for training")
        assert answer.err.splitlines()[1:] == ["  dvc add data", "  make repro PROFILE=mine"]
        assert latentlab("profile", "mine").code == 0
        assert latentlab("fetch", "--dry-run").code == 0
        params = load_params(checkout.params)
        assert (params.data.name, params.data.image_size) == ("mine", 20)
        assert params.denoise["gaussian"].network.type == "unet"
        assert set(params.searched) == {p for p in params.search.space if "." in p}

    def test_it_contains_the_values_of_the_other_profiles(self, folder, checkout, latentlab):
        latentlab("init", "mine")

        profile, digits = (
            {re.sub(r"network\..*", "network", path) for path in flatten(read_plain(file))}
            for file in (checkout.profiles / f"{name}.yaml" for name in ("mine", "digits"))
        )
        searched = {path for path in profile ^ digits if ".label_efficiency" in path}
        assert profile ^ digits == searched  # the classes are too small for label budgets

    def test_other_profiles_leave_no_traces_of_it(self, folder, checkout, latentlab):
        before = load_params(checkout.params)
        latentlab("init", "mine")
        latentlab("profile", "mine")

        latentlab("profile", "digits")

        assert load_params(checkout.params) == before

    def test_it_starts_with_what_was_found_and_how_to_run_it(self, folder, checkout, latentlab):
        latentlab("init", "mine")

        text = (checkout.profiles / "mine.yaml").read_text()
        assert text.startswith("# mine: 20 images, 20x20, gray; 2 classes")
        fields = re.findall(r"^#   (\w+)  ", text.partition("\ndata:")[0], re.MULTILINE)
        assert fields == ["command", "time", "expected", "n"]
        assert "epochs: 2000  # 2,000 steps, 1 per epoch" in text

    def test_it_is_deterministic(self, folder, checkout):
        def profile():
            return render(measure(DataParams(name="mine"), checkout.data, None))

        assert profile() == profile()

    def test_an_image_size_can_be_given(self, folder, checkout, latentlab):
        latentlab("init", "mine", "--image-size", "48")

        assert "image_size: 48" in (checkout.profiles / "mine.yaml").read_text()

    def test_labels_follow_params_yaml_if_it_names_the_dataset(self, folder, checkout, latentlab):
        text = checkout.params.read_text()
        text = text.replace("name: digits ", "name: mine ").replace(
            "labels: folders ", "labels: none "
        )
        checkout.params.write_text(text)

        assert "no labels" in latentlab("init", "mine").out
        assert "labels: none" in (checkout.profiles / "mine.yaml").read_text()


class TestStatistics:
    def test_images_of_16_bits_with_little_contrast_are_scaled(self, checkout):
        folder = checkout.data / "deep"
        folder.mkdir(parents=True)
        random = np.random.default_rng(0)
        for number in range(10):
            pixels = random.integers(0, 4096, (16, 16)).astype(np.uint16)
            Image.fromarray(pixels).save(folder / f"{number}.png")

        facts = measure(DataParams(name="deep"), checkout.data, None)

        assert facts.data.scale == "content"
        assert facts.entropy > 7
        assert facts.classes == 0

    def test_images_with_a_direction_are_recognized(self, checkout):
        stripes(checkout.data / "one" / "all", 40, 1)
        stripes(checkout.data / "both" / "left", 40, 1)
        stripes(checkout.data / "both" / "right", 40, -1)

        def mirrored(name, labels):
            data = DataParams(name=name, labels=labels)
            return measure(data, checkout.data, None).mirrored

        assert not mirrored("one", "none")
        assert mirrored("both", "none")
        assert not mirrored("both", "folders")  # a mirror image would have the wrong class

    def test_textures_may_be_moved_and_centered_shapes_may_not(self, checkout):
        random = np.random.default_rng(0)
        for number in range(60):
            texture = random.integers(0, 255, (4, 4), dtype=np.uint8)
            square = np.zeros((32, 32), np.uint8)
            square[12:20, 12:20] = random.integers(150, 250)
            for name, pixels in (("textures", texture), ("centered", square)):
                (checkout.data / name).mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR)
                picture.save(checkout.data / name / f"{number:02}.png")

        assert measure(DataParams(name="textures", labels="none"), checkout.data, None).movable
        assert not measure(DataParams(name="centered", labels="none"), checkout.data, None).movable

    def test_constant_images_have_statistics(self, checkout):
        for name in ("a", "b"):
            (checkout.data / "flat" / name).mkdir(parents=True)
            for number in range(6):
                path = checkout.data / "flat" / name / f"{number}.png"
                Image.new("L", (16, 16), 7).save(path)

        facts = measure(DataParams(name="flat"), checkout.data, None)

        assert (facts.entropy, facts.components) == (0.0, 1)


class TestErrors:
    def test_an_unknown_dataset(self, checkout, latentlab, message):
        answer = latentlab("init", "missing")

        assert answer.code == 3
        message("init/unknown dataset", answer.err)

    def test_an_existing_profile(self, folder, latentlab, message):
        answer = latentlab("init", "mine")
        assert answer.code == 0
        answer = latentlab("init", "mine")

        assert answer.code == 2
        message("init/existing profile", answer.err)
        assert latentlab("init", "mine", "--force").code == 0

    def test_an_impossible_size_or_name(self, folder, latentlab, message):
        for name, arguments in {
            "size": ("mine", "--image-size", "30"),
            "name": ("../mine",),
        }.items():
            answer = latentlab("init", *arguments)

            assert answer.code == 2
            message(f"init/impossible {name}", answer.err)
