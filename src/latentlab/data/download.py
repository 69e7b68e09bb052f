"""Download of raw files from mirrors, with a limited number of retries and a SHA-256 check."""

import logging
import sys
from pathlib import Path

from latentlab.common.errors import DataError
from latentlab.data.catalog import KnownDataset

RETRIES = 2
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16


def download(name: str, dataset: KnownDataset, folder: Path) -> None:
    """Download every raw file of a dataset into `folder`, with a progress bar on a terminal.

    Existing files with the expected SHA-256 are not downloaded again. Raises DataError with the
    reason for each mirror if all of them fail, and OSError if the folder cannot be written.
    """
    import pooch

    pooch.get_logger().setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)
    for file_name, sha256 in dataset.sha256.items():
        _download_file(name, dataset.mirrors, folder, file_name, sha256)


def _download_file(
    name: str, mirrors: tuple[str, ...], folder: Path, file_name: str, sha256: str
) -> None:
    """Download one file from the first mirror that has it."""
    import pooch
    import requests

    failures = []
    for mirror in mirrors:
        store = pooch.create(
            folder, mirror, registry={file_name: f"sha256:{sha256}"}, retry_if_failed=RETRIES
        )
        downloader = pooch.HTTPDownloader(
            progressbar=sys.stderr.isatty(), chunk_size=CHUNK_BYTES, timeout=TIMEOUT_SECONDS
        )
        try:
            store.fetch(file_name, downloader=downloader)
            return
        except (requests.RequestException, ValueError) as error:  # not errors of the disk
            failures.append(f"{mirror}{file_name}: {_summary(error)}")
    raise DataError(
        f"{name}: the download failed ({1 + RETRIES} attempts at each mirror):\n  "
        + "\n  ".join(failures)
        + f"\nCheck the network connection. Or copy the files to {folder} or data/{name}/, or set "
        f"the environment variable LATENTLAB_DATA to the folder that contains {name}/."
    )


def _summary(error: Exception) -> str:
    """Return the first line of an error, or only the reason of a failed connection."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = str(reason).partition(": ")[2] or str(error) or type(error).__name__
    return text.splitlines()[0]
