"""Datasets of torchvision in small crafted copies of their files."""

import inspect
import os
import pickle
import socket
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

import torchvision_layouts as layouts
from latentlab.common.errors import DataError, EnvironmentProblem
from latentlab.data.sources import locate, read_dataset
from latentlab.data.splits import Split, split_rows
from latentlab.data.torchvision_catalog import BUILT_IN, TORCHVISION, UNSUPPORTED


@pytest.fixture(autouse=True)
def accept(monkeypatch):
    layouts.accept_all_files(monkeypatch)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The folder `data/`; nothing else is searched, and the per-user cache is empty."""
    monkeypatch.delenv("LATENTLAB_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    return tmp_path / "data"


def read(name, data, size=32, channels="auto", **more):
    return read_dataset(f"torchvision/{name}", size, channels, data, **more)


def read_error(name, data, kind=DataError, **more):
    with pytest.raises(kind) as caught:
        read(name, data, **more)
    return caught.value


def shapes(raw):
    return {split: images.shape for split, (images, _) in raw.splits.items()}


class TestLayouts:
    def test_cifar10(self, data, monkeypatch):
        archive, first = layouts.write_cifar10(data / "torchvision/CIFAR10")
        layouts.pin(monkeypatch, "CIFAR10", archive)

        raw = read("CIFAR10", data)

        assert shapes(raw) == {"train": (100, 3, 32, 32), "test": (20, 3, 32, 32)}
        images, labels = raw.splits["train"]
        np.testing.assert_array_equal(images[:20], first.transpose(0, 3, 1, 2))
        assert labels[:12].tolist() == [*range(10), 0, 1]
        assert raw.classes == tuple(f"class {letter}" for letter in "abcdefghij")
        assert raw.sha256["cifar-10-python.tar.gz"] == TORCHVISION["CIFAR10"].pickled

    def test_svhn(self, data):
        first = layouts.write_svhn(data / "torchvision/SVHN")

        raw = read("SVHN", data)

        assert shapes(raw) == {"train": (60, 3, 32, 32), "test": (60, 3, 32, 32)}
        np.testing.assert_array_equal(raw.splits["train"][0], first.transpose(0, 3, 1, 2))
        assert raw.splits["train"][1][:11].tolist() == [*range(10), 0]
        assert raw.classes == tuple("0123456789")

    def test_letters_of_emnist_are_upright_and_have_26_classes(self, data):
        first = layouts.write_emnist_letters(data / "torchvision/EMNIST")

        raw = read("EMNIST", data, 28, options={"split": "letters"})

        assert shapes(raw) == {"train": (52, 1, 28, 28), "test": (52, 1, 28, 28)}
        np.testing.assert_array_equal(raw.splits["train"][0][:, 0], first.transpose(0, 2, 1))
        assert raw.classes == tuple("abcdefghijklmnopqrstuvwxyz")
        assert raw.splits["test"][1].tolist() == [*range(26)] * 2

    def test_qmnist(self, data):
        layouts.write_qmnist(data / "torchvision/QMNIST")

        raw = read("QMNIST", data, 28)

        assert shapes(raw) == {"train": (20, 1, 28, 28), "test": (20, 1, 28, 28)}
        assert raw.splits["train"][1].tolist() == [*range(10)] * 2

    def test_usps(self, data):
        layouts.write_usps(data / "torchvision/USPS")

        raw = read("USPS", data, 16)

        assert shapes(raw) == {"train": (20, 1, 16, 16), "test": (20, 1, 16, 16)}
        assert raw.classes == tuple("0123456789")

    def test_stl10(self, data):
        first = layouts.write_stl10(data / "torchvision/STL10")

        raw = read("STL10", data, 96)

        assert shapes(raw) == {"train": (20, 3, 96, 96), "test": (20, 3, 96, 96)}
        np.testing.assert_array_equal(raw.splits["train"][0], first.transpose(0, 3, 1, 2))
        assert raw.classes[:2] == ("thing 0", "thing 1")

    def test_gtsrb(self, data):
        layouts.write_gtsrb(data / "torchvision/GTSRB")

        raw = read("GTSRB", data, 16)

        assert shapes(raw) == {"train": (129, 3, 16, 16), "test": (43, 3, 16, 16)}
        assert len(raw.classes) == 43
        assert raw.classes[14] == "stop"

    def test_eurosat_has_no_official_splits(self, data):
        layouts.write_eurosat(data / "torchvision/EuroSAT")

        raw = read("EuroSAT", data, 64)

        assert shapes(raw) == {"train": (30, 3, 64, 64)}
        assert raw.classes == ("Forest", "River", "SeaLake")
        sizes = {name: len(split) for name, split in split_rows(raw, 0.2, 0.2, 0).items()}
        assert sizes == {"train": 19, "validation": 5, "test": 6}

    def test_oxford_pets(self, data):
        layouts.write_oxford_pets(data / "torchvision/OxfordIIITPet")

        raw = read("OxfordIIITPet", data)

        assert shapes(raw) == {"train": (12, 3, 32, 32), "test": (12, 3, 32, 32)}
        assert raw.classes == ("Abyssinian", "American Bulldog")

    def test_all_three_official_splits_of_flowers_are_kept(self, data):
        layouts.write_flowers(data / "torchvision/Flowers102")

        raw = read("Flowers102", data)

        assert {split: len(images) for split, (images, _) in raw.splits.items()} == {
            "train": 6,
            "validation": 6,
            "test": 6,
        }
        assert raw.classes == ("pink primrose", "hard-leaved pocket orchid", "canterbury bells")
        for split, rows in split_rows(raw, 0.5, 0.5, 0).items():
            np.testing.assert_array_equal(Split(raw, rows)[:], raw.splits[split][0])

    def test_food(self, data):
        layouts.write_food(data / "torchvision/Food101")

        raw = read("Food101", data)

        assert shapes(raw) == {"train": (6, 3, 32, 32), "test": (6, 3, 32, 32)}
        assert raw.classes == ("apple_pie", "waffles")


class TestCatalog:
    def test_every_class_of_torchvision_is_supported_built_in_or_has_a_reason(self):
        others = {name for names in UNSUPPORTED.values() for name in names}
        classes = {
            name
            for name in torchvision.datasets.__all__
            if inspect.isclass(getattr(torchvision.datasets, name))
        }

        assert {*TORCHVISION, *BUILT_IN, *others} == classes

    def test_all_arguments_exist(self):
        for name, entry in TORCHVISION.items():
            dataset = getattr(torchvision.datasets, name)
            parameters = set(inspect.signature(dataset).parameters)
            if "kwargs" in parameters:  # those of MNIST
                parameters |= set(inspect.signature(torchvision.datasets.MNIST).parameters)
            used = {*entry.options, *(key for each in entry.splits.values() for key in each)}
            assert used | {"download"} <= parameters, name

    def test_official_archives_of_pickles_are_pinned(self):
        pinned = {name for name, entry in TORCHVISION.items() if entry.pickled}

        assert pinned == {"CIFAR10", "CIFAR100"}


class TestPickles:
    def test_another_archive_is_not_opened(self, data, tmp_path, message):
        archive, _ = layouts.write_cifar10(data / "torchvision/CIFAR10")
        with tarfile.open(archive, "w:gz") as tar:
            layouts.add_member(
                tar, "cifar-10-batches-py/data_batch_1", pickle.dumps(Malicious(tmp_path / "ran"))
            )

        error = str(read_error("CIFAR10", data))

        digest = error.partition(" is ")[2].partition(",")[0]
        message("data/torchvision: archive not official", error.replace(digest, "<sha256>"))
        assert not (tmp_path / "ran").exists()

    def test_extracted_files_are_not_read(self, data, tmp_path, monkeypatch):
        archive, _ = layouts.write_cifar10(data / "torchvision/CIFAR10")
        layouts.pin(monkeypatch, "CIFAR10", archive)
        extracted = data / "torchvision/CIFAR10/cifar-10-batches-py"
        extracted.mkdir()
        (extracted / "data_batch_1").write_bytes(pickle.dumps(Malicious(tmp_path / "ran")))

        assert len(read("CIFAR10", data).splits["train"][1]) == 100
        assert not (tmp_path / "ran").exists()

    def test_extracted_files_without_the_archive_are_rejected(self, data, message):
        (data / "torchvision/CIFAR10/cifar-10-batches-py").mkdir(parents=True)

        message("data/torchvision: archive missing", read_error("CIFAR10", data))


class Malicious:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class TestReading:
    @pytest.mark.parametrize(("channels", "depth"), [("auto", 3), (1, 1), (3, 3)])
    def test_the_number_of_channels_can_be_set(self, data, channels, depth):
        layouts.write_eurosat(data / "torchvision/EuroSAT")

        assert shapes(read("EuroSAT", data, 8, channels)) == {"train": (30, depth, 8, 8)}

    def test_gray_images_can_have_three_equal_channels(self, data):
        layouts.write_usps(data / "torchvision/USPS")

        images = read("USPS", data, 16, 3).splits["train"][0]

        np.testing.assert_array_equal(images[:, 0], images[:, 2])

    def test_the_digest_changes_with_one_pixel(self, data):
        layouts.write_gtsrb(data / "torchvision/GTSRB")
        before = read("GTSRB", data, 16).sha256
        assert read("GTSRB", data, 8).sha256 == before

        file = data / "torchvision/GTSRB/gtsrb/GTSRB/Training/00007/1.ppm"
        picture = Image.open(file)
        picture.putpixel((3, 3), (1, 2, 3))
        picture.save(file)

        after = read("GTSRB", data, 16).sha256
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"torchvision/GTSRB train (129 images)"}

    def test_missing_files_are_reported(self, data, message):
        (data / "torchvision/SVHN").mkdir(parents=True)

        message("data/torchvision: files missing", read_error("SVHN", data))

    def test_a_partial_extraction_is_reported(self, data, message):
        layouts.write_oxford_pets(data / "torchvision/OxfordIIITPet")
        images = data / "torchvision/OxfordIIITPet/oxford-iiit-pet/images"
        (images / "Abyssinian_trainval3.jpg").unlink()
        (images / "Abyssinian_trainval4.jpg").write_bytes(b"not an image")

        message("data/torchvision: unreadable images", read_error("OxfordIIITPet", data))

    def test_a_class_without_training_images_is_reported(self, data, message):
        layouts.write_oxford_pets(data / "torchvision/OxfordIIITPet")
        lines = data / "torchvision/OxfordIIITPet/oxford-iiit-pet/annotations/trainval.txt"
        lines.write_text("\n".join(lines.read_text().splitlines()[:6]))

        message("data/torchvision: class without images", read_error("OxfordIIITPet", data))

    def test_a_missing_optional_package_is_named(self, data, monkeypatch, message):
        layouts.write_svhn(data / "torchvision/SVHN")
        monkeypatch.setitem(sys.modules, "scipy.io", None)

        error = read_error("SVHN", data, EnvironmentProblem)

        assert error.exit_code == 4
        message("data/torchvision: package missing", error)


class TestDownload:
    @pytest.fixture
    def downloads(self, monkeypatch):
        """Let torchvision "download" SVHN by writing crafted files; the folders it was given."""
        folders = []

        def write(dataset):
            folders.append(dataset.root)
            layouts.write_svhn(Path(dataset.root))

        monkeypatch.setattr(torchvision.datasets.SVHN, "download", write)
        return folders

    def test_the_dataset_is_downloaded_once_to_the_user_cache(self, data, tmp_path, downloads):
        first = read("SVHN", data)
        second = read("SVHN", data)

        assert first.sha256 == second.sha256
        assert len(downloads) == 2  # one per split
        assert locate("torchvision/SVHN", data) == tmp_path / "cache/torchvision/SVHN"

    def test_the_folder_of_the_environment_variable_comes_before_the_cache(
        self, data, tmp_path, monkeypatch, downloads
    ):
        layouts.write_svhn(tmp_path / "shared/torchvision/SVHN")
        monkeypatch.setenv("LATENTLAB_DATA", str(tmp_path / "shared"))

        assert len(read("SVHN", data).splits["train"][1]) == 60
        assert downloads == []

    def test_an_interrupted_download_starts_again(self, data, tmp_path, monkeypatch, downloads):
        complete = torchvision.datasets.SVHN.download

        def interrupted(dataset):
            complete(dataset)
            raise KeyboardInterrupt

        monkeypatch.setattr(torchvision.datasets.SVHN, "download", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read("SVHN", data)
        assert not (tmp_path / "cache/torchvision/SVHN").exists()

        monkeypatch.setattr(torchvision.datasets.SVHN, "download", complete)
        assert len(read("SVHN", data).splits["train"][1]) == 60

    def test_without_a_network_the_error_says_where_to_put_the_files(
        self, data, monkeypatch, message
    ):
        def refuse(*_):
            raise socket.gaierror(-3, "Temporary failure in name resolution")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: False)

        message("data/torchvision: no network", read_error("CIFAR10", data))

    def test_a_full_disk_is_not_blamed_on_the_network(self, data, monkeypatch):
        def fail(dataset):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torchvision.datasets.SVHN, "download", fail)

        assert read_error("SVHN", data, OSError).errno == 28

    @pytest.mark.slow
    def test_the_official_usps_files_are_downloaded(self, data):
        try:
            socket.create_connection(("www.csie.ntu.edu.tw", 443), timeout=10).close()
        except OSError as error:
            pytest.skip(f"no network: {error}")

        raw = read("USPS", data, 16)

        assert shapes(raw) == {"train": (7291, 1, 16, 16), "test": (2007, 1, 16, 16)}
