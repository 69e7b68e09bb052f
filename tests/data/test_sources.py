import os
from pathlib import Path

import numpy as np
import pytest

from crafting import IMAGES, LABELS, known_dataset, random_images, write_pictures
from latentlab.common.errors import DataError
from latentlab.data import sources
from latentlab.data.catalogue import KNOWN
from latentlab.data.sources import locate, read_dataset

EXTERNAL = Path(os.environ.get("LATENTLAB_DATA") or "no such folder")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Every folder that is searched: `data/`, that of LATENTLAB_DATA, and the per-user cache."""
    (tmp_path / "shared").mkdir()
    monkeypatch.setenv("LATENTLAB_DATA", str(tmp_path / "shared"))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    return {
        "data": tmp_path / "data",
        "shared": tmp_path / "shared",
        "cache": tmp_path / "cache" / "latentlab",
    }


@pytest.fixture
def pets(places, monkeypatch):
    """A dataset in the catalogue, whose files lie in `data/`."""
    dataset = known_dataset(places["data"] / "pets", mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setitem(KNOWN, "pets", dataset)
    return dataset


def refusal(name, places, channels="auto"):
    with pytest.raises(DataError) as caught:
        read_dataset(name, 8, channels, places["data"])
    assert caught.value.exit_code == 3
    return str(caught.value)


class TestWhereADatasetIsLookedFor:
    @pytest.fixture(autouse=True)
    def downloads(self, monkeypatch):
        """The folders that a download was asked for."""
        asked = []
        monkeypatch.setattr(sources, "download", lambda name, dataset, folder: asked.append(folder))
        return asked

    def test_first_in_the_data_folder(self, pets, places, downloads):
        (places["shared"] / "pets").mkdir(parents=True)

        assert locate("pets", places["data"]) == places["data"] / "pets"
        assert downloads == []

    def test_then_in_the_folder_of_the_environment_variable(self, pets, places, downloads):
        (places["data"] / "pets").rename(places["data"] / "other")
        (places["shared"] / "pets").mkdir(parents=True)

        assert locate("pets", places["data"]) == places["shared"] / "pets"
        assert downloads == []

    def test_then_in_the_cache_of_the_user_with_what_is_missing_downloaded(
        self, pets, places, downloads
    ):
        (places["data"] / "pets").rename(places["data"] / "other")

        assert locate("pets", places["data"]) == places["cache"] / "pets"
        assert downloads == [places["cache"] / "pets"]

    def test_an_empty_environment_variable_names_no_folder(
        self, pets, places, tmp_path, monkeypatch
    ):
        (places["data"] / "pets").rename(places["data"] / "other")
        (tmp_path / "pets").mkdir()
        monkeypatch.setenv("LATENTLAB_DATA", "")
        monkeypatch.chdir(tmp_path)

        assert locate("pets", places["data"]) == places["cache"] / "pets"

    def test_an_environment_variable_that_names_no_folder_is_a_mistake(
        self, pets, places, monkeypatch, downloads
    ):
        monkeypatch.setenv("LATENTLAB_DATA", "/nowhere")
        assert locate("pets", places["data"]) == places["data"] / "pets"

        (places["data"] / "pets").rename(places["data"] / "other")
        assert "LATENTLAB_DATA = '/nowhere' is no folder" in refusal("pets", places)
        assert downloads == []

    def test_an_own_folder_belongs_where_dvc_sees_it_change(self, places):
        (places["shared"] / "mine").mkdir(parents=True)

        assert f"move them to {places['data']}/mine" in refusal("mine", places)

        (places["data"] / "mine").mkdir(parents=True)
        assert locate("mine", places["data"]) == places["data"] / "mine"

    def test_the_bundled_dataset_is_pulled_not_downloaded(self, places, downloads):
        with pytest.raises(DataError, match=r"digits is missing; .* `dvc pull data.dvc`"):
            locate("digits", places["data"])
        assert downloads == []

    def test_nowhere_is_told_with_every_place_and_the_nearest_name(self, places):
        (places["data"] / "holidays").mkdir(parents=True)

        message = refusal("hollidays", places)

        assert "did you mean 'holidays'?" in message
        assert f"{places['data']}/hollidays, {places['shared']}/hollidays" in message
        assert "digits, fashion-mnist, holidays, kmnist, mnist" in message
        assert f"put them into {places['data']}/hollidays/<class>/*.png" in message

    def test_a_name_unlike_any_other_gets_no_suggestion(self, places):
        assert "did you mean" not in refusal("zzz", places)


class TestKnownDatasets:
    def test_images_labels_classes_and_digests_come_together(self, pets, places):
        raw = read_dataset("pets", 6, "auto", places["data"])

        images, labels = raw.splits["train"]
        np.testing.assert_array_equal(images[:, 0], random_images(20))
        assert labels.dtype == np.int64
        assert labels.tolist() == [0, 1] * 10
        assert raw.classes == ("cat", "dog")
        assert raw.sha256 == pets.sha256

    @pytest.mark.parametrize("size", [4, 6, 28])
    def test_images_are_resized(self, pets, places, size):
        raw = read_dataset("pets", size, 1, places["data"])
        assert raw.splits["train"][0].shape == (20, 1, size, size)

    def test_a_white_of_16_is_stretched_to_255_one_to_one(self, places, monkeypatch):
        images = np.arange(17, dtype=np.uint8).repeat(16).reshape(17, 4, 4)
        dataset = known_dataset(places["data"] / "dim", images, np.zeros(17))
        monkeypatch.setitem(KNOWN, "dim", type(dataset)(**{**vars(dataset), "white": 16}))

        read = read_dataset("dim", 4, 1, places["data"]).splits["train"][0][:, 0, 0, 0]

        assert read[0] == 0
        assert read[16] == 255
        assert len(set(read.tolist())) == 17

    def test_grey_images_cannot_be_had_in_colour(self, pets, places):
        assert "data.channels = 3, but pets is grey; allowed: auto, 1" in refusal("pets", places, 3)

    def test_a_file_with_a_wrong_digest_is_refused_with_both_digests(self, pets, places):
        other = known_dataset(places["data"] / "pets", images=random_images(20, seed=1))

        message = refusal("pets", places)

        assert f"{places['data']}/pets/{IMAGES}: SHA-256 is {other.sha256[IMAGES]}" in message
        assert f"should be {pets.sha256[IMAGES]}" in message
        assert LABELS not in message

    def test_missing_and_wrong_files_are_told_together(self, pets, places):
        (places["data"] / "pets" / IMAGES).write_bytes(b"")
        (places["data"] / "pets" / LABELS).unlink()

        message = refusal("pets", places)

        assert f"{IMAGES}: SHA-256 is" in message
        assert f"{LABELS}: missing" in message

    def test_counts_of_images_and_labels_that_differ_are_refused(self, places, monkeypatch):
        dataset = known_dataset(places["data"] / "odd", random_images(20), np.zeros(19))
        monkeypatch.setitem(KNOWN, "odd", dataset)

        message = refusal("odd", places)

        assert f"{IMAGES} has 20 images" in message
        assert f"{LABELS} has 19 labels" in message

    def test_a_label_out_of_range_is_refused(self, places, monkeypatch):
        dataset = known_dataset(places["data"] / "odd", random_images(3), [0, 1, 2])
        monkeypatch.setitem(KNOWN, "odd", dataset)

        message = refusal("odd", places)

        assert f"{LABELS}: label 2 is out of range; allowed: 0 to 1" in message

    @pytest.mark.parametrize("name", KNOWN)
    def test_the_catalogue_names_a_digest_for_every_file(self, name):
        dataset = KNOWN[name]
        files = {file for split in dataset.splits.values() for file in split}

        assert files == set(dataset.sha256)
        assert all(len(digest) == 64 for digest in dataset.sha256.values())
        assert all(mirror.endswith("/") for mirror in dataset.mirrors)


class TestImageFolders:
    def test_a_folder_of_classes_is_a_dataset(self, places):
        for name in ("cat", "dog"):
            write_pictures(places["data"] / "mine" / name, 6)

        raw = read_dataset("mine", 8, "auto", places["data"])

        images, labels = raw.splits["train"]
        assert images.shape == (12, 1, 8, 8)
        assert labels.tolist() == [0] * 6 + [1] * 6
        assert raw.classes == ("cat", "dog")
        assert list(raw.sha256) == ["mine/ (12 files)"]


class TestTheRealFiles:
    def test_the_bundled_digits_are_those_of_scikit_learn(self, repository):
        if not (repository / "data" / "digits").is_dir():
            pytest.skip("data/ is not there; `dvc pull data.dvc` fetches it")
        from sklearn.datasets import load_digits

        raw = read_dataset("digits", 8, "auto", repository / "data")

        images, labels = raw.splits["train"]
        expected = load_digits()
        np.testing.assert_array_equal(images[:, 0], np.round(expected.images * (255 / 16)))
        np.testing.assert_array_equal(labels, expected.target)
        assert raw.classes == tuple(map(str, expected.target_names))

    @pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "kmnist"])
    def test_the_official_files_hold_what_they_are_known_for(self, name, tmp_path):
        if not (EXTERNAL / name).is_dir():
            pytest.skip(f"LATENTLAB_DATA names no folder with {name}/")

        raw = read_dataset(name, 28, "auto", tmp_path)

        shapes = {split: images.shape for split, (images, _) in raw.splits.items()}
        assert shapes == {"train": (60_000, 1, 28, 28), "test": (10_000, 1, 28, 28)}
        counts = np.bincount(raw.splits["train"][1], minlength=10)
        if name == "mnist":  # the one whose classes are not of one size
            assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        else:
            assert counts.tolist() == [6000] * 10
