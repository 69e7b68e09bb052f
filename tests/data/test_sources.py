import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crafting import IMAGES, LABELS, known_dataset, random_images, write_pictures
from latentlab.common.errors import DataError
from latentlab.data import sources
from latentlab.data.catalog import KNOWN
from latentlab.data.sources import locate, read_dataset

EXTERNAL = Path(os.environ.get("LATENTLAB_DATA") or "no such folder")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The folders that are searched: `data/`, that of LATENTLAB_DATA, and the per-user cache."""
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
    """A dataset of the catalog whose files are in `data/`."""
    dataset = known_dataset(places["data"] / "pets", mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setitem(KNOWN, "pets", dataset)
    return dataset


@pytest.fixture
def missing_pets(pets, places):
    """A dataset of the catalog whose files are nowhere on this machine."""
    (places["data"] / "pets").rename(places["data"] / "other")


def read_error(name, places, channels="auto"):
    with pytest.raises(DataError) as caught:
        read_dataset(name, 8, channels, places["data"])
    assert caught.value.exit_code == 3
    return caught.value


class TestSearchedFolders:
    @pytest.fixture(autouse=True)
    def downloads(self, monkeypatch):
        """The folders to which a download was requested."""
        folders = []
        monkeypatch.setattr(
            sources, "download", lambda name, dataset, folder: folders.append(folder)
        )
        return folders

    def test_the_data_folder_comes_first(self, pets, places, downloads):
        (places["shared"] / "pets").mkdir(parents=True)

        assert locate("pets", places["data"]) == places["data"] / "pets"
        assert downloads == []

    def test_the_folder_of_the_environment_variable_comes_second(
        self, missing_pets, places, downloads
    ):
        (places["shared"] / "pets").mkdir(parents=True)

        assert locate("pets", places["data"]) == places["shared"] / "pets"
        assert downloads == []

    def test_otherwise_the_dataset_is_downloaded_to_the_user_cache(
        self, missing_pets, places, downloads
    ):
        assert locate("pets", places["data"]) == places["cache"] / "pets"
        assert downloads == [places["cache"] / "pets"]

    def test_an_empty_environment_variable_is_ignored(
        self, missing_pets, places, tmp_path, monkeypatch
    ):
        (tmp_path / "pets").mkdir()
        monkeypatch.setenv("LATENTLAB_DATA", "")
        monkeypatch.chdir(tmp_path)

        assert locate("pets", places["data"]) == places["cache"] / "pets"

    def test_a_missing_folder_in_the_environment_variable_is_rejected_if_it_is_needed(
        self, pets, places, monkeypatch, downloads, message
    ):
        monkeypatch.setenv("LATENTLAB_DATA", "/nowhere")
        assert locate("pets", places["data"]) == places["data"] / "pets"

        (places["data"] / "pets").rename(places["data"] / "other")
        message("data/sources: LATENTLAB_DATA is not a folder", read_error("pets", places))
        assert downloads == []

    def test_own_images_must_be_in_the_data_folder_that_dvc_tracks(self, places, message):
        (places["shared"] / "mine").mkdir(parents=True)
        message("data/sources: own images outside data", read_error("mine", places))

        (places["data"] / "mine").mkdir(parents=True)
        assert locate("mine", places["data"]) == places["data"] / "mine"

    def test_the_bundled_dataset_is_restored_by_dvc_instead_of_downloaded(
        self, places, downloads, message
    ):
        message("data/sources: bundled dataset missing", read_error("digits", places))
        assert downloads == []

    def test_an_unknown_name_is_rejected_with_the_searched_folders_and_the_nearest_name(
        self, places, message
    ):
        (places["data"] / "holidays").mkdir(parents=True)

        message("data/sources: unknown dataset", read_error("hollidays", places))

    def test_a_name_unlike_any_other_gets_no_suggestion(self, places):
        assert "Did you mean" not in str(read_error("zzz", places))


class TestKnownDatasets:
    def test_images_labels_classes_and_digests_are_returned(self, pets, places):
        raw = read_dataset("pets", 6, "auto", places["data"])

        images, labels = raw.splits["train"]
        np.testing.assert_array_equal(images[:, 0], random_images(20))
        assert labels.dtype == np.int64
        assert labels.tolist() == [0, 1] * 10
        assert raw.classes == ("cat", "dog")
        assert raw.sha256 == pets.sha256

    def test_images_are_resized(self, pets, places):
        raw = read_dataset("pets", 28, 1, places["data"])

        assert raw.splits["train"][0].shape == (20, 1, 28, 28)

    def test_a_smaller_range_of_values_is_stretched_to_255(self, places, monkeypatch):
        images = np.arange(17, dtype=np.uint8).repeat(16).reshape(17, 4, 4)
        dataset = known_dataset(places["data"] / "dim", images, np.zeros(17))
        monkeypatch.setitem(KNOWN, "dim", replace(dataset, white=16))

        values = read_dataset("dim", 4, 1, places["data"]).splits["train"][0][:, 0, 0, 0]

        assert values[0] == 0
        assert values[16] == 255
        assert len(set(values.tolist())) == 17

    def test_labels_can_be_left_out(self, pets, places):
        raw = read_dataset("pets", 6, "auto", places["data"], labels="none")

        assert raw.classes == ()
        assert raw.splits["train"][1].tolist() == [0] * 20

    def test_labels_cannot_come_from_a_file(self, pets, places, message):
        with pytest.raises(DataError) as caught:
            read_dataset("pets", 6, "auto", places["data"], labels="labels.csv")

        message("data/sources: label file of a known dataset", caught.value)

    def test_gray_images_cannot_have_three_channels(self, pets, places, message):
        message("data/sources: three channels of gray images", read_error("pets", places, 3))

    def test_all_missing_and_changed_files_are_named(self, pets, places, message):
        (places["data"] / "pets" / IMAGES).write_bytes(b"")
        (places["data"] / "pets" / LABELS).unlink()

        error = str(read_error("pets", places)).replace(pets.sha256[IMAGES], "<sha256>")
        message("data/sources: files not official", error)

    def test_a_changed_file_of_the_bundled_dataset_is_restored_by_dvc(self, places, message):
        folder = places["data"] / "digits"
        folder.mkdir(parents=True)

        message("data/sources: bundled files missing", read_error("digits", places))

    def test_different_numbers_of_images_and_labels_are_rejected(
        self, places, monkeypatch, message
    ):
        dataset = known_dataset(places["data"] / "odd", random_images(20), np.zeros(19))
        monkeypatch.setitem(KNOWN, "odd", dataset)

        message("data/sources: numbers of images and labels", read_error("odd", places))

    def test_a_label_out_of_range_is_rejected(self, places, monkeypatch, message):
        dataset = known_dataset(places["data"] / "odd", random_images(3), [0, 1, 2])
        monkeypatch.setitem(KNOWN, "odd", dataset)

        message("data/sources: label out of range", read_error("odd", places))

    def test_the_catalog_has_a_digest_for_every_file(self):
        for dataset in KNOWN.values():
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

    def test_official_splits_are_kept_and_the_label_file_is_part_of_the_digest(self, places):
        write_pictures(places["data"] / "mine", 12)
        lines = [f"{n}.png,{n % 2},{'test' if n > 9 else 'train'}" for n in range(12)]
        source = places["data"] / "mine/labels.csv"
        source.write_text("\n".join(["file,label,split", *lines]))

        raw = read_dataset("mine", 8, "auto", places["data"], labels="labels.csv")
        source.write_text("\n".join(["file,label,split", *reversed(lines)]))
        other = read_dataset("mine", 8, "auto", places["data"], labels="labels.csv")

        assert {split: labels.tolist() for split, (_, labels) in raw.splits.items()} == {
            "train": [0, 1] * 5,
            "test": [0, 1],
        }
        assert list(raw.sha256) == ["mine/ (13 files)"]
        assert raw.sha256 != other.sha256


class TestOfficialFiles:
    def test_the_bundled_digits_equal_those_of_scikit_learn(self, repository):
        if not (repository / "data" / "digits").is_dir():
            pytest.skip("data/ is missing; run `dvc pull data.dvc`")
        from sklearn.datasets import load_digits

        raw = read_dataset("digits", 8, "auto", repository / "data")

        images, labels = raw.splits["train"]
        expected = load_digits()
        np.testing.assert_array_equal(images[:, 0], np.round(expected.images * (255 / 16)))
        np.testing.assert_array_equal(labels, expected.target)
        assert raw.classes == tuple(map(str, expected.target_names))

    @pytest.mark.parametrize("name", ["fashion-mnist", "mnist", "kmnist"])
    def test_the_official_files_have_the_documented_sizes(self, name, tmp_path):
        if not (EXTERNAL / name).is_dir():
            pytest.skip(f"LATENTLAB_DATA has no folder {name}/")

        raw = read_dataset(name, 28, "auto", tmp_path)

        shapes = {split: images.shape for split, (images, _) in raw.splits.items()}
        assert shapes == {"train": (60_000, 1, 28, 28), "test": (10_000, 1, 28, 28)}
        counts = np.bincount(raw.splits["train"][1], minlength=10)
        if name == "mnist":  # the only one with classes of different sizes
            assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        else:
            assert counts.tolist() == [6000] * 10
