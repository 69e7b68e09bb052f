# ruff: noqa: E501 - one line per situation
"""A table of folders as users have them, each with the right result or one message.

A layout lists files below `data/pets/`: `cat/{6}.png` are six random images, and `name=kind` is a
special file, see `create`.
"""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from crafting import png_with_size
from latentlab.common.errors import DataError
from latentlab.data.sources import read_dataset

TWO = "cat/{6}.png dog/{6}.png"
SPLITS = "train/cat/{6}.png train/dog/{6}.png"
TEST = "test/cat/{2}.png test/dog/{2}.png"

RESULTS = [
    # one folder per class
    ("class folders", TWO, "train: cat 6, dog 6", ""),
    ("many classes", " ".join(f"c{n:02}/{{5}}.png" for n in range(30)), "train: c00 5, ...", ""),
    ("five images per class", "cat/{5}.png dog/{5}.png", "train: cat 5, dog 5", ""),
    ("classes of different sizes", "cat/{40}.png dog/{5}.png", "train: cat 40, dog 5", ""),
    ("folders within classes", "cat/a/{3}.png cat/b/c/{3}.png dog/{6}.png", "train: cat 6, dog 6", ""),
    ("a folder around the classes", "pets/cat/{6}.png pets/dog/{6}.png", "train: cat 6, dog 6", ""),
    ("two folders around the classes", "a/b/cat/{6}.png a/b/dog/{6}.png", "train: cat 6, dog 6", ""),
    ("an empty class folder", f"{TWO} bird/=folder", "train: cat 6, dog 6", ""),
    ("a folder with other files only", f"{TWO} docs/a.txt=text", "train: cat 6, dog 6", "1 not images"),
    ("a class named test", "test/{6}.png dog/{6}.png", "train: dog 6, test 6", ""),
    ("a class named train", "train/{6}.png bus/{6}.png", "train: bus 6, train 6", ""),
    ("classes named val and test next to others", "val/{6}.png test/{6}.png cat/{6}.png", "train: cat 6, test 6, val 6", ""),
    ("the same image in two classes", f"{TWO} cat/same.png=fixed dog/same.png=fixed", "train: cat 7, dog 7", ""),
    ("classes that differ in case", "Cat/{6}.png cat/{6}.png", "train: Cat 6, cat 6", "'Cat', 'cat' differ only in case"),
    ("classes that differ in Unicode form", "Zo\u00e9/{6}.png Zoe\u0301/{6}.png", "train: Zoe\u0301 6, Zo\u00e9 6", "encoding of accents"),
    ("classes with spaces and other scripts", "北京/{6}.png مرحبا/{6}.png", "train: مرحبا 6, 北京 6", ""),
    ("class names that look alike as text", "\udce9/{6}.png \\xe9/{6}.png", r"train: \xe9 6, \xe9' 6", ""),
    ("a class name that is not UTF-8", "Zo\udce9/{6}.png dog/{6}.png", r"train: Zo\xe9 6, dog 6", ""),
    ("a file name that is not UTF-8", f"{TWO} cat/\udce9.png=L", "train: cat 7, dog 6", ""),
    ("a linked class folder", "cat/{6}.png x/.hidden/{6}.png dog=link:x/.hidden", "train: cat 6, dog 6", "1 hidden folders"),
    ("a linked image", f"{TWO} cat/link.png=link:0.png", "train: cat 7, dog 6", ""),
    # ignored files
    ("hidden files", f"{TWO} cat/._0.png=text .DS_Store=text dog/.DS_Store=text", "train: cat 6, dog 6", "ignored: 3 hidden"),
    ("folders of macOS and Synology", f"{TWO} __MACOSX/cat/._0.png=text cat/@eaDir/0.png=text", "train: cat 6, dog 6", "ignored: 2 hidden folders"),
    ("files that are not images", f"{TWO} README.md=text cat/notes.txt=text", "train: cat 6, dog 6", "12 images; ignored: 2 not images"),
    ("images in other formats", f"{TWO} cat/a.heic=text cat/b.HEIC=text dog/c.svg=text", "train: cat 6, dog 6", "ignored: 2 in other formats (.heic), 1 in other formats (.svg)"),
    ("images next to class folders", f"{TWO} overview.png=L", "train: cat 6, dog 6", "ignored: 1 outside the class folders"),
    ("an image next to a folder around the classes", "pets/cat/{6}.png pets/dog/{6}.png logo.png=L", "train: cat 6, dog 6", "ignored: 1 outside the class folders"),
    ("an image next to a folder around the splits", f"{SPLITS} {TEST} logo.png=L".replace("train/", "pets/train/").replace("test/", "pets/test/"), "train: cat 6, dog 6; test: cat 2, dog 2", "ignored: 1 outside the split folders"),
    ("images next to a single folder", "more/{6}.png {6}.png", "train: 12", "have no labels"),
    ("images next to split folders", f"{SPLITS} overview.png=L", "train: cat 6, dog 6", "ignored: 1 outside the split folders"),
    # given splits
    ("train and test", f"{SPLITS} {TEST}", "train: cat 6, dog 6; test: cat 2, dog 2", ""),
    ("train and val", f"{SPLITS} {TEST.replace('test', 'val')}", "train: cat 6, dog 6; validation: cat 2, dog 2", ""),
    ("train, valid and test", f"{SPLITS} {TEST} {TEST.replace('test', 'valid')}", "train: cat 6, dog 6; validation: cat 2, dog 2; test: cat 2, dog 2", ""),
    ("Training and Testing", f"{SPLITS} {TEST}".replace("train/", "Training/").replace("test/", "Testing/"), "train: cat 6, dog 6; test: cat 2, dog 2", ""),
    ("train alone", SPLITS, "train: cat 6, dog 6", ""),
    ("split folders in a folder", f"{SPLITS} {TEST}".replace("train/", "pets/train/").replace("test/", "pets/test/"), "train: cat 6, dog 6; test: cat 2, dog 2", ""),
    ("split folders without classes", "train/{9}.png test/{4}.png", "train: 9; test: 4", "have no labels"),
    ("split folders with one folder each", "train/images/{9}.png test/images/{4}.png", "train: 9; test: 4", "have no labels"),
    # without labels
    ("a flat folder", "{12}.png", "train: 12", "fewer than two class folders, so the images have no labels"),
    ("a single folder", "celeba/{12}.jpg", "train: 12", "have no labels"),
    ("a single class of a split", "train/cat/{9}.png", "train: 9", "have no labels"),
    # formats
    ("all formats", "cat/{6}.png dog/a.jpg=RGB dog/b.jpeg=L dog/c.webp=RGB dog/d.bmp=RGB dog/e.tif=RGB dog/f.gif=L dog/g.pgm=L", "train: cat 6, dog 7", ""),
    ("suffixes in upper case", "cat/{6}.PNG dog/{6}.JPG", "train: cat 6, dog 6", ""),
    ("a JPEG file named .png", f"{TWO} cat/x.png=jpeg", "train: cat 7, dog 6", ""),
    ("animations and pages", f"{TWO} cat/x.gif=frames dog/x.tiff=frames", "train: cat 7, dog 7", "several frames or pages, of which only the first is used: 2 (first: "),
    ("CMYK, palette and transparency", f"{TWO} cat/x.jpg=CMYK cat/y.png=P dog/x.png=RGBA dog/y.png=LA", "train: cat 8, dog 8", ""),
    ("16 bits", f"{TWO} cat/x.png=16:65535", "train: cat 7, dog 6", ""),
    ("12 bits in files of 16 bits", f"{TWO} cat/x.png=16:4095", "train: cat 7, dog 6", "between 0 and 4095, a small part"),
]  # fmt: skip

ERRORS = [
    ("an empty folder", ".=folder", "no images, the folder is empty"),
    ("hidden files only", "cat/.x.png=text", "no images, only 1 hidden"),
    ("files that are not images only", "cat/x.txt=text", "no images, only 1 not images"),
    ("other formats only", "cat/a.heic=text dog/b.heic=text", "no images, only 2 in other formats (.heic)"),
    ("a class in another format", f"{TWO} bird/a.heic=text", "no image of class 'bird' has a format that is read"),
    ("one image per class", "cat/{1}.png dog/{1}.png", "too few images in class 'cat', 'dog'"),
    ("a small class", "cat/{6}.png dog/{4}.png", "too few images in class 'dog'"),
    ("split folders next to a class", f"{SPLITS} {TEST} bird/{{6}}.png", "other folders with images: 'bird'"),
    ("train next to a folder that is no split", f"{SPLITS} {TEST.replace('test', 'dev')}", "other folders with images: 'dev'"),
    ("train next to images without labels", f"{SPLITS} unlabeled/{{6}}.png", "other folders with images: 'unlabeled'"),
    ("no training split", f"{TEST} {TEST.replace('test', 'val')}", "none for training"),
    ("val and valid", f"{SPLITS} {TEST.replace('test', 'val')} {TEST.replace('test', 'valid')}", "val and valid are the same split"),
    ("test images without classes", f"{SPLITS} test/{{4}}.png", "the test images are not in class folders"),
    ("a class without training images", f"{SPLITS} {TEST} test/bird/{{2}}.png", "no train images of class 'bird'"),
    ("a class without test images", f"{SPLITS} train/bird/{{6}}.png {TEST}", "no test images of class 'bird'"),
    ("a class in another case in a split", f"{SPLITS} test/Cat/{{2}}.png test/dog/{{2}}.png", "no train images of class 'Cat'"),
    ("an empty file", f"{TWO} cat/x.png=empty", "cat/x.png: the file is empty"),
    ("a text file named .png", f"{TWO} cat/x.png=text", "cat/x.png: the content is not an image of a known format"),
    ("a truncated image", f"{TWO} cat/x.png=truncated", "cat/x.png: "),
    ("a PostScript file named .png", f"{TWO} cat/x.png=postscript", "cat/x.png: the content is not an image of a known format"),
    ("a decompression bomb", f"{TWO} cat/x.png=bomb", "cat/x.png: Image size (100000000 pixels) exceeds limit"),
    ("a FIFO", f"{TWO} cat/x.png=fifo", "cat/x.png: a FIFO"),
    ("a socket", f"{TWO} cat/x.png=socket", "cat/x.png: a socket"),
    ("a link to a device", f"{TWO} cat/x.png=link:/dev/zero", "cat/x.png: a device"),
    ("a broken link", f"{TWO} cat/x.png=link:missing.png", "cat/x.png: a link to missing.png (No such file or directory)"),
    ("a link to itself", f"{TWO} cat/x.png=link:x.png", "cat/x.png: a link to x.png (Too many levels of symbolic links)"),
    ("a link to a folder above", f"{TWO} cat/loop=link:..", "cat/loop: a link to a folder that contains it"),
    ("a damaged file whose name is not UTF-8", f"{TWO} cat/\udce9.png=empty", r"cat/\xe9.png: the file is empty"),
    ("floating-point images", f"{TWO} cat/x.tif=float", "cat/x.tif: values from 0 to 1 have no full range"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "expected", "note"),
    [case[1:] for case in RESULTS],
    ids=[case[0] for case in RESULTS],
)
def test_the_folder_is_read(layout, expected, note, tmp_path):
    create(tmp_path / "pets", layout)

    raw = read_dataset("pets", 8, "auto", tmp_path)

    actual = summary(raw)
    assert actual == expected or (expected.endswith("...") and actual.startswith(expected[:-3]))
    notes = "\n".join(raw.notes)
    assert note in notes
    assert bool(notes) == bool(note)


@pytest.mark.parametrize(
    ("layout", "expected"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS]
)
def test_the_folder_is_rejected(layout, expected, tmp_path):
    create(tmp_path / "pets", layout)

    with pytest.raises(DataError) as caught:
        read_dataset("pets", 8, "auto", tmp_path)

    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert str(tmp_path / "pets") in message
    assert expected in message
    assert message.endswith(".")


def summary(raw):
    """Return the number of images per split and class: `train: cat 6, dog 6; test: cat 2`."""
    parts = []
    for split, (images, labels) in raw.splits.items():
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.shape[2:] == (8, 8)
        assert len(images) == len(labels)
        counts = [f"{name} {(labels == index).sum()}" for index, name in enumerate(raw.classes)]
        assert raw.classes or not labels.any()
        parts.append(f"{split}: {', '.join(counts) or len(labels)}")
    return "; ".join(parts)


def create(root, layout):
    """Create the files of a layout."""
    random = np.random.default_rng(0)
    root.mkdir()
    for item in layout.split():
        name, _, kind = item.partition("=")
        path = root / name
        if kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.startswith("{"):
            count, suffix = path.name[1:].split("}")
            for number in range(int(count)):
                save(path.with_name(f"{number}{suffix}"), pixels(random))
        else:
            write_special(path, *kind.split(":"), random=random)


def write_special(path, kind, value="", *, random):
    """Write one file: text, bytes of a damaged image, a link, or an image in a color mode."""
    contents = {"text": b"not an image", "empty": b"", "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n"}
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "truncated":
        save(path, pixels(random, 40))
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "bomb":
        path.write_bytes(png_with_size(10_000, 10_000))
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        folder = os.getcwd()
        os.chdir(path.parent)  # paths of sockets are short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir(folder)
    elif kind == "link":
        path.symlink_to(path.parent / value if (path.parent / value).is_dir() else value)
    elif kind == "fixed":
        save(path, np.full((8, 8), 7, np.uint8))
    elif kind == "jpeg":
        Image.fromarray(pixels(random)).save(path, "JPEG")
    elif kind == "frames":
        frames = [Image.fromarray(pixels(random)) for _ in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    elif kind == "16":
        values = np.linspace(0, int(value), 144).reshape(12, 12)
        Image.fromarray(values.astype(np.uint16)).save(path)
    elif kind == "float":
        Image.fromarray(np.linspace(0, 1, 144, dtype=np.float32).reshape(12, 12)).save(path)
    else:
        Image.fromarray(pixels(random)).convert(kind).save(path)


def pixels(random, size=12):
    return random.integers(0, 256, (size, size), dtype=np.uint8)


def save(path, values):
    Image.fromarray(values).save(path)
