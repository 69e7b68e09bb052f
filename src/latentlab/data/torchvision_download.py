"""Download of the datasets of torchvision."""

import io
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any, NoReturn

from latentlab.common.errors import DataError, EnvironmentProblem
from latentlab.data.torchvision_catalog import PREFIX, TORCHVISION

TIMEOUT_SECONDS = 30

Options = Mapping[str, Any]


def download_torchvision(name: str, options: Options, target: Path) -> None:
    """Let torchvision download and verify a dataset into the folder `target`, if it is missing.

    The folder appears when the dataset is complete. Raises DataError if the download fails, and
    EnvironmentProblem if it needs a package that is not installed.
    """
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if target.is_dir():
            return
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # torchvision takes a part for the whole
        partial.mkdir()
        try:
            with _quiet_unless_terminal(), _timeout():
                _download(name, options, partial)
        except Exception as error:  # of any type, depending on the dataset
            _explain_download(name, error)
        partial.rename(target)


def torchvision_class(name: str) -> Any:
    """Return the class of a `data.name`."""
    import torchvision.datasets

    return getattr(torchvision.datasets, name.removeprefix(PREFIX))


def _download(name: str, options: Options, folder: Path) -> None:
    entry, dataset_class = TORCHVISION[name.removeprefix(PREFIX)], torchvision_class(name)
    if entry.pickled:  # the constructor would unpickle it
        from torchvision.datasets.utils import download_url

        download_url(dataset_class.url, folder, dataset_class.filename, md5=dataset_class.tgz_md5)
        return
    for arguments in entry.splits.values():
        dataset_class(folder, **arguments, **options, download=True)


def _explain_download(name: str, error: Exception) -> NoReturn:
    """Raise the error of a failed download with its likely cause."""
    from urllib.error import URLError

    check_packages(name, error)
    of_network = isinstance(error, URLError | ConnectionError | TimeoutError)
    if isinstance(error, OSError) and not of_network:
        raise error  # of the disk
    raise DataError(
        f"{name}: the download by torchvision failed: {error}\nCheck the network connection. Or "
        f"get the files from {TORCHVISION[name.removeprefix(PREFIX)].homepage} and arrange them "
        f"in data/{name}/ as torchvision does, or set the environment variable LATENTLAB_DATA to "
        f"the folder that contains {name}/."
    ) from None


def check_packages(name: str, error: Exception) -> None:
    """Raise EnvironmentProblem if the error is about an optional package."""
    if isinstance(error, ImportError) or "pip install" in str(error):
        raise EnvironmentProblem(f"{name} needs an optional package: {error}") from None


def _quiet_unless_terminal() -> Any:
    """Return a context in which torchvision's progress bars are hidden, unless on a terminal."""
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())


@contextmanager
def _timeout() -> Iterator[None]:
    """Limit the time without data of a download, which torchvision does not do."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
