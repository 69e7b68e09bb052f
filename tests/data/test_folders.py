import pytest

from crafting import write_pictures
from latentlab.common.errors import DataError
from latentlab.data.folders import list_images


@pytest.fixture
def pets(tmp_path):
    """A folder with two classes of six images each."""
    for name in ("cat", "dog"):
        write_pictures(tmp_path / "pets" / name, 6)
    return tmp_path / "pets"


def label_file(folder, *lines):
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return "labels.csv"


def rows(split=""):
    """Return lines that give the cats the label `b` and the dogs the label `a`."""
    labels = {"cat": "b", "dog": "a"}
    return [f"{name}/{n}.png,{labels[name]}{split}" for name in labels for n in range(6)]


def names_and_labels(listing, split="train"):
    return [(f"{file.parent.name}/{file.name}", label) for file, label in listing.splits[split]]


def list_error(folder, labels="folders"):
    with pytest.raises(DataError) as caught:
        list_images(folder, labels)
    assert caught.value.exit_code == 3
    return caught.value


class TestFolders:
    def test_labels_are_the_indices_of_the_sorted_classes_and_files_are_sorted(self, pets):
        listing = list_images(pets, "folders")

        assert listing.classes == ("cat", "dog")
        assert names_and_labels(listing) == [
            (f"{name}/{n}.png", label)
            for label, name in enumerate(listing.classes)
            for n in range(6)
        ]

    def test_messages_about_layouts(self, pets, message):
        (pets / "cat/.DS_Store").touch()
        (pets / "notes.txt").touch()
        message("data/folders: ignored", list_images(pets, "folders").notes[0])

        write_pictures(pets / "ant", 4)
        message("data/folders: too few images", list_error(pets))

        for split in ("train", "val"):
            write_pictures(pets / split / "cat", 6)
        message("data/folders: other folders", list_error(pets))


class TestNoLabels:
    def test_images_in_any_folder_get_the_label_zero(self, pets):
        listing = list_images(pets, "none")

        assert listing.classes == ()
        assert len(listing.splits["train"]) == 12
        assert {label for _, label in listing.splits["train"]} == {0}
        assert listing.notes == ()

    def test_split_folders_are_used(self, tmp_path):
        write_pictures(tmp_path / "pets/train/cat", 6)
        write_pictures(tmp_path / "pets/test", 4)

        splits = list_images(tmp_path / "pets", "none").splits

        assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 6, "test": 4}

    def test_a_flat_folder_is_noted_if_labels_are_expected(self, tmp_path, message):
        write_pictures(tmp_path / "pets", 6)

        message(
            "data/folders: no class folders", list_images(tmp_path / "pets", "folders").notes[0]
        )


class TestLabelFile:
    def test_the_labels_replace_those_of_the_folders(self, pets):
        listing = list_images(pets, label_file(pets, "file,label", *rows()))

        assert listing.classes == ("a", "b")
        assert set(names_and_labels(listing)) == {
            (f"{name}/{n}.png", label) for name, label in (("cat", 1), ("dog", 0)) for n in range(6)
        }
        assert listing.sources == (pets / "labels.csv",)
        assert listing.notes == ()

    def test_a_column_assigns_splits(self, pets):
        write_pictures(pets / "cow", 2)
        held_out = ["cow/0.png,a,test", "cow/1.png,b,test"]
        source = label_file(pets, "file,label,split", *rows(",train"), *held_out)

        listing = list_images(pets, source)

        assert names_and_labels(listing, "test") == [("cow/0.png", 0), ("cow/1.png", 1)]

    def test_a_single_label_is_none(self, pets):
        lines = [row.replace(",b", ",a") for row in rows()]

        listing = list_images(pets, label_file(pets, "file,label", *lines))

        assert listing.classes == ()
        assert "fewer than two labels, so there are none" in listing.notes[0]

    def test_images_that_are_not_listed_are_ignored(self, pets, message):
        write_pictures(pets / "cow", 2)
        listing = list_images(pets, label_file(pets, "file,label", *rows()))

        message("data/label_file: not listed", listing.notes[0])

    def test_all_invalid_rows_are_reported(self, pets, message):
        lines = ["cat/99.png,a,train", "../x.png,a,train", "cat/1.png,,train", "cat/2.png,a,dev"]
        lines += ["dog/1.png,a,train", "dog/1.png,b,train"]
        source = label_file(pets, "file,label,split", *lines)

        message("data/label_file: invalid rows", list_error(pets, source))

    def test_missing_columns_are_named(self, pets, message):
        message(
            "data/label_file: missing columns",
            list_error(pets, label_file(pets, "name;label", "cat/1.png;a")),
        )

    def test_a_missing_file_is_reported(self, pets, message):
        message("data/label_file: missing", list_error(pets, "labels.csv"))
