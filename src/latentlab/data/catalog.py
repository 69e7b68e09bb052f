"""The datasets that are available by name: their files, SHA-256 digests, mirrors and classes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownDataset:
    """A dataset in gzipped IDX files.

    `splits` maps the name of a split to its image file and label file; without "test", a test split
    is drawn. `white` is the pixel value that becomes 1.0. `mirrors` are tried in order. `source`
    and `license` are those that the publisher names.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[str, str]]
    sha256: dict[str, str]
    mirrors: tuple[str, ...] = ()
    white: int = 255
    source: str = ""
    license: str = ""


def _mnist_like(
    classes: tuple[str, ...],
    mirrors: tuple[str, ...],
    sha256: tuple[str, str, str, str],
    source: str,
    license: str,
) -> KnownDataset:
    """Return a dataset with the file names of MNIST.

    `sha256` lists the digests of the train images, train labels, test images and test labels.
    """
    train = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
    test = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    digests = dict(zip(train + test, sha256, strict=True))
    splits = {"train": train, "test": test}
    return KnownDataset(classes, splits, digests, mirrors, source=source, license=license)


_DIGITS = tuple(str(digit) for digit in range(10))

KNOWN = {
    "digits": KnownDataset(
        classes=_DIGITS,
        splits={"train": ("digits-images-idx3-ubyte.gz", "digits-labels-idx1-ubyte.gz")},
        sha256={
            "digits-images-idx3-ubyte.gz": (
                "c41c947a1014aa9bb82e371b01f16724f9ef929893351173edcc47aa0fc03930"
            ),
            "digits-labels-idx1-ubyte.gz": (
                "147c9192405199869317e6d9c62ea444f9770c3f8c6dd65035ba3a3690cc5460"
            ),
        },
        white=16,
        source="Optical Recognition of Handwritten Digits (UCI), test part, from scikit-learn",
        license="CC BY 4.0",
    ),
    "fashion-mnist": _mnist_like(
        classes=(
            "T-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        sha256=(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        source="Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist",
        license="MIT",
    ),
    "mnist": _mnist_like(
        classes=_DIGITS,
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        sha256=(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        source="MNIST, http://yann.lecun.com/exdb/mnist/",
        license="CC BY-SA 3.0",
    ),
    "kmnist": _mnist_like(
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        sha256=(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        source="KMNIST, http://codh.rois.ac.jp/kmnist/",
        license="CC BY-SA 4.0",
    ),
}
