"""The datasets of torchvision that are supported: how to request their splits, and their options.

This module does not import torchvision, so that parameters are validated without it.
"""

from dataclasses import dataclass, field
from typing import Any

PREFIX = "torchvision/"
"""Beginning of `data.name` for a dataset of torchvision; the name of its class follows."""

_TRAIN_FLAG: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}


def _named(train: str = "train", validation: str = "", test: str = "") -> dict[str, Any]:
    """Return the splits of a class that selects them by an argument `split`."""
    names = {"train": train, "validation": validation, "test": test}
    return {split: {"split": name} for split, name in names.items() if name}


@dataclass(frozen=True)
class TorchvisionDataset:
    """A class of torchvision whose items are a PIL image and an integer label.

    `splits` maps our splits to the arguments that select them; without "test", a test split is
    drawn. `options` maps required arguments to their allowed values. `classes` replaces the names
    that torchvision gives. An empty `license` means that the source states none. `pickled` is the
    SHA-256 of an archive of pickles. `transposed` images have their axes swapped.
    """

    homepage: str
    splits: dict[str, dict[str, Any]] = field(default_factory=lambda: {"train": {}})
    options: dict[str, tuple[str | int, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    license: str = ""
    pickled: str = ""
    transposed: bool = False


_TRAFFIC_SIGNS = (
    *(f"speed limit {limit} km/h" for limit in (20, 30, 50, 60, 70, 80)),
    "end of speed limit 80 km/h",
    "speed limit 100 km/h",
    "speed limit 120 km/h",
    "no overtaking",
    "no overtaking by trucks",
    "priority at next crossing",
    "priority road",
    "give way",
    "stop",
    "no vehicles",
    "no trucks",
    "no entry",
    "danger",
    "bend to the left",
    "bend to the right",
    "double bend",
    "uneven road",
    "slippery road",
    "road narrows on the right",
    "road works",
    "traffic lights",
    "pedestrians",
    "children",
    "bicycles",
    "ice or snow",
    "wild animals",
    "end of all limits",
    "turn right ahead",
    "turn left ahead",
    "straight ahead only",
    "straight ahead or right",
    "straight ahead or left",
    "keep right",
    "keep left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking by trucks",
)

TORCHVISION = {
    "CIFAR10": TorchvisionDataset(
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        splits=_TRAIN_FLAG,
        pickled="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "CIFAR100": TorchvisionDataset(
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        splits=_TRAIN_FLAG,
        pickled="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
    "CLEVRClassification": TorchvisionDataset(  # its test split has no labels
        homepage="https://cs.stanford.edu/people/jcjohns/clevr/",
        splits=_named(validation="val"),
        license="CC BY 4.0",
    ),
    "Caltech101": TorchvisionDataset(
        homepage="https://data.caltech.edu/records/mzrjq-6wc02", license="CC BY 4.0"
    ),
    "Caltech256": TorchvisionDataset(
        homepage="https://data.caltech.edu/records/nyy15-4j048", license="CC BY 4.0"
    ),
    "Country211": TorchvisionDataset(
        homepage="https://github.com/openai/CLIP/blob/main/data/country211.md",
        splits=_named(validation="valid", test="test"),
    ),
    "DTD": TorchvisionDataset(
        homepage="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        splits=_named(validation="val", test="test"),
        options={"partition": tuple(range(1, 11))},
    ),
    "EMNIST": TorchvisionDataset(
        homepage="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        splits=_TRAIN_FLAG,
        options={"split": ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")},
        transposed=True,
    ),
    "EuroSAT": TorchvisionDataset(homepage="https://github.com/phelber/EuroSAT", license="MIT"),
    "FGVCAircraft": TorchvisionDataset(
        homepage="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        splits=_named(validation="val", test="test"),
        options={"annotation_level": ("variant", "family", "manufacturer")},
        license="non-commercial research only",
    ),
    "Flowers102": TorchvisionDataset(
        homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        splits=_named(validation="val", test="test"),
    ),
    "Food101": TorchvisionDataset(
        homepage="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        splits=_named(test="test"),
    ),
    "GTSRB": TorchvisionDataset(
        homepage="https://benchmark.ini.rub.de/",
        splits=_named(test="test"),
        classes=_TRAFFIC_SIGNS,
    ),
    "Imagenette": TorchvisionDataset(
        homepage="https://github.com/fastai/imagenette",
        # the smallest archive whose images are not enlarged at any `data.image_size`
        splits={"train": {"split": "train", "size": "320px"}}
        | {"validation": {"split": "val", "size": "320px"}},
        license="Apache-2.0",
    ),
    "OxfordIIITPet": TorchvisionDataset(
        homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        splits=_named(train="trainval", test="test"),
        license="CC BY-SA 4.0",
    ),
    "PCAM": TorchvisionDataset(
        homepage="https://github.com/basveeling/pcam",
        splits=_named(validation="val", test="test"),
        classes=("normal", "tumor"),
        license="CC0",
    ),
    "QMNIST": TorchvisionDataset(
        homepage="https://github.com/facebookresearch/qmnist",
        splits={"train": {"what": "train"}, "test": {"what": "test"}},
        classes=tuple("0123456789"),
        license="BSD-3-Clause",
    ),
    "RenderedSST2": TorchvisionDataset(
        homepage="https://github.com/openai/CLIP/blob/main/data/rendered-sst2.md",
        splits=_named(validation="val", test="test"),
    ),
    "SEMEION": TorchvisionDataset(
        homepage="https://archive.ics.uci.edu/dataset/178/semeion+handwritten+digit",
        license="CC BY 4.0",
    ),
    "STL10": TorchvisionDataset(
        homepage="https://cs.stanford.edu/~acoates/stl10/", splits=_named(test="test")
    ),
    "SVHN": TorchvisionDataset(
        homepage="http://ufldl.stanford.edu/housenumbers/",
        splits=_named(test="test"),
        license="non-commercial use only",
    ),
    "USPS": TorchvisionDataset(
        homepage="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        splits=_TRAIN_FLAG,
    ),
}

BUILT_IN = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist", "KMNIST": "kmnist"}
"""Classes whose datasets are in `catalog.KNOWN`, and their names there."""

UNSUPPORTED = {
    "its labels are attributes, not classes": ("CelebA",),
    "its labels are captions": ("CocoCaptions", "Flickr8k", "Flickr30k", "SBU"),
    "it is for image segmentation": ("Cityscapes", "SBDataset", "VOCSegmentation"),
    "it is for object detection": ("CocoDetection", "Kitti", "VOCDetection", "WIDERFace"),
    "it is for optical flow": ("FlyingChairs", "FlyingThings3D", "HD1K", "KittiFlow", "Sintel"),
    "it has pairs of images": ("LFWPairs", "PhotoTour"),
    "it is for stereo matching": (
        *("CREStereo", "CarlaStereo", "ETH3DStereo", "FallingThingsStereo", "InStereo2k"),
        *("Kitti2012Stereo", "Kitti2015Stereo", "Middlebury2014Stereo", "SceneFlowStereo"),
        "SintelStereo",
    ),
    "it has videos": ("HMDB51", "Kinetics", "MovingMNIST", "UCF101"),
    "its test images have other classes than its training images": ("Omniglot",),
    "torchvision cannot download it; use a folder of its images instead": (
        *("FER2013", "ImageNet", "LFWPeople", "LSUN", "LSUNClass", "StanfordCars"),
    ),
    "it has too many images for most machines": (
        "INaturalist",
        "Places365",
        "SUN397",
    ),
    "it has no images of its own; use a folder of images instead": (
        *("DatasetFolder", "FakeData", "ImageFolder", "VisionDataset"),
    ),
}
"""The other classes of torchvision, by the reason why they are not supported."""


def find_torchvision(name: str) -> TorchvisionDataset | None:
    """Return the entry of a `data.name`, or None if it is not a supported one of torchvision."""
    return TORCHVISION.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
