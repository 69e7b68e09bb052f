import sys
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crafting import IMAGES, LABELS, known_dataset
from latentlab.common.errors import DataError
from latentlab.common.files import sha256_of
from latentlab.data.catalog import KNOWN
from latentlab.data.download import RETRIES, download
from latentlab.data.sources import read_dataset

ATTEMPTS = 1 + RETRIES


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, or the error `server.status`, and counts the requests for each file."""

    def do_GET(self):
        self.server.requests[self.path.lstrip("/")] += 1
        if self.server.status:
            self.send_error(self.server.status)
        else:
            super().do_GET()

    def log_message(self, *args):
        """Keep stderr empty."""


@contextmanager
def serve(folder, status=None):
    folder.mkdir(exist_ok=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        server.status = status
        server.requests = Counter()
        server.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_delay_and_no_proxy(monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def good(tmp_path):
    known_dataset(tmp_path / "good")
    with serve(tmp_path / "good") as server:
        yield server


@pytest.fixture
def broken(tmp_path):
    with serve(tmp_path / "broken", status=500) as server:
        yield server


@pytest.fixture
def corrupt(tmp_path):
    folder = tmp_path / "corrupt"
    folder.mkdir()
    for name in (IMAGES, LABELS):
        (folder / name).write_bytes(b"other content")
    with serve(folder) as server:
        yield server


@pytest.fixture
def pets(tmp_path):
    """Return a function that describes a dataset with the given servers as mirrors."""
    return lambda *servers: known_dataset(
        tmp_path / "good", mirrors=[server.url for server in servers]
    )


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def failure(dataset, folder):
    with pytest.raises(DataError) as caught:
        download("pets", dataset, folder)
    return caught.value


def test_every_file_is_downloaded_and_verified(pets, good, cache):
    dataset = pets(good)

    download("pets", dataset, cache)

    assert {path.name: sha256_of(path) for path in cache.iterdir()} == dataset.sha256


def test_nothing_is_printed_if_stderr_is_not_a_terminal(pets, good, cache, capfd):
    download("pets", pets(good), cache)

    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_the_progress_of_each_file(pets, good, cache, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    download("pets", pets(good), cache)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("100%") >= 2


def test_existing_files_are_not_downloaded_again(pets, good, cache):
    download("pets", pets(good), cache)
    download("pets", pets(good), cache)

    assert good.requests == {IMAGES: 1, LABELS: 1}


def test_a_damaged_file_is_downloaded_again(pets, good, cache):
    dataset = pets(good)
    download("pets", dataset, cache)
    (cache / IMAGES).write_bytes(b"truncated")

    download("pets", dataset, cache)

    assert sha256_of(cache / IMAGES) == dataset.sha256[IMAGES]
    assert good.requests == {IMAGES: 2, LABELS: 1}


def test_the_next_mirror_is_used_if_one_fails(pets, broken, good, cache):
    download("pets", pets(broken, good), cache)

    assert broken.requests == {IMAGES: ATTEMPTS, LABELS: ATTEMPTS}
    assert good.requests == {IMAGES: 1, LABELS: 1}


def test_the_next_mirror_is_used_if_one_has_another_file(pets, corrupt, good, cache):
    dataset = pets(corrupt, good)

    download("pets", dataset, cache)

    assert sha256_of(cache / IMAGES) == dataset.sha256[IMAGES]


def test_the_error_lists_the_reason_of_each_mirror_after_a_limited_number_of_attempts(
    pets, broken, corrupt, cache, tmp_path, message
):
    with serve(tmp_path / "gone") as gone:
        dataset = pets(broken, corrupt, gone)

    error = failure(dataset, cache)

    text = str(error).replace(dataset.sha256[IMAGES], "<sha256>")
    text = text.replace(sha256_of(tmp_path / "corrupt" / IMAGES), "<other sha256>")
    for server, name in ((broken, "broken"), (corrupt, "corrupt"), (gone, "gone")):
        text = text.replace(server.url, f"http://{name}/")
    message("data/download failed", text)
    assert error.exit_code == 3
    assert broken.requests == corrupt.requests == {IMAGES: ATTEMPTS}


def test_a_damaged_download_is_deleted(pets, corrupt, cache):
    failure(pets(corrupt), cache)

    assert list(cache.iterdir()) == []


def test_files_downloaded_before_a_failure_are_kept(pets, good, cache, tmp_path):
    dataset = pets(good)
    (tmp_path / "good" / LABELS).unlink()

    failure(dataset, cache)

    assert [path.name for path in cache.iterdir()] == [IMAGES]


def test_a_missing_dataset_is_downloaded_to_the_user_cache_and_read(
    pets, good, tmp_path, monkeypatch
):
    monkeypatch.setitem(KNOWN, "pets", pets(good))
    monkeypatch.delenv("LATENTLAB_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))

    raw = read_dataset("pets", 8, "auto", tmp_path / "data")

    assert raw.splits["train"][0].shape == (20, 1, 8, 8)
    assert (tmp_path / "cache" / "pets" / IMAGES).is_file()


def test_an_unwritable_folder_is_reported_as_such(pets, good, cache):
    cache.write_text("a file instead of a folder")

    with pytest.raises(NotADirectoryError):
        download("pets", pets(good), cache)
