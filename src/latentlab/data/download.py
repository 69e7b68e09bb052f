"""Official mirrors: tried in order, retried a bounded number of times, checked by SHA-256."""

import logging
from pathlib import Path

from latentlab.common.errors import DataError
from latentlab.common.progress import Bar, progress_bar
from latentlab.data.catalogue import KnownDataset

RETRIES = 2
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16


class _Bar:
    """What pooch expects of a progress bar, shown by ours; it counts the bytes of all files."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._advance = bar.advance
        self._total = self._seen = 0

    @property
    def total(self) -> int:
        """Bytes of the file that is being read; pooch learns them from its server."""
        return self._total

    @total.setter
    def total(self, size: int) -> None:
        self._total, self._seen = size, 0
        self._bar.expect(size)

    def update(self, amount: int) -> None:
        amount = min(amount, self._total - self._seen)  # pooch counts whole chunks
        self._seen += amount
        self._advance(amount)

    def reset(self) -> None:
        """Pooch starts over before a last update of the whole file, which is counted already."""
        self._advance = lambda amount: None

    def close(self) -> None:
        """The bar belongs to the caller."""


def download(name: str, dataset: KnownDataset, folder: Path) -> None:
    """Fetch every raw file of a dataset into `folder`.

    A file that is there with the right SHA-256 is kept. DataError tells what each mirror said,
    OSError that the folder cannot be written.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    with progress_bar(f"download {name}", None, "B") as bar:
        for file_name, sha256 in dataset.sha256.items():
            _from_any_mirror(name, dataset.mirrors, folder, file_name, sha256, bar)


def _from_any_mirror(
    name: str,
    mirrors: tuple[str, ...],
    folder: Path,
    file_name: str,
    sha256: str,
    bar: Bar,
) -> None:
    import pooch
    import requests

    refusals = []
    for mirror in mirrors:
        store = pooch.create(
            folder, mirror, registry={file_name: f"sha256:{sha256}"}, retry_if_failed=RETRIES
        )
        downloader = pooch.HTTPDownloader(
            progressbar=_Bar(bar), chunk_size=CHUNK_BYTES, timeout=TIMEOUT_SECONDS
        )
        try:
            store.fetch(file_name, downloader=downloader)
            return
        except (requests.RequestException, ValueError) as refusal:  # not what the disk refuses
            refusals.append(f"{mirror}{file_name}: {_in_short(refusal)}")
    raise DataError(
        f"{name}: could not be downloaded ({1 + RETRIES} attempts at each mirror):\n  "
        + "\n  ".join(refusals)
        + f"\nPut its files into {folder}, or into data/{name}/, or name the folder that holds "
        f"{name}/ in the environment variable LATENTLAB_DATA."
    )


def _in_short(error: Exception) -> str:
    """The first line; of a failed connection only the reason, the address is named already."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    text = str(reason).partition(": ")[2] or str(error) or type(error).__name__
    return text.splitlines()[0]
