import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crafting import IMAGES, LABELS, known_dataset
from latentlab.common.errors import DataError
from latentlab.common.files import sha256_of
from latentlab.common.progress import progress_bar
from latentlab.data.catalogue import KNOWN
from latentlab.data.download import RETRIES, download
from latentlab.data.sources import read_dataset

ATTEMPTS = 1 + RETRIES


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; fails with `server.status` where that is set, and counts what is asked."""

    def do_GET(self):
        self.server.asked[self.path.lstrip("/")] += 1
        if self.server.status:
            self.send_error(self.server.status)
        else:
            super().do_GET()

    def log_message(self, *args):
        """Nothing on stderr."""


@contextmanager
def serving(folder, status=None):
    folder.mkdir(exist_ok=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        server.status = status
        server.asked = Counter()
        server.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries run_and_log each other at once, and no proxy comes between."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def good(tmp_path):
    known_dataset(tmp_path / "good")
    with serving(tmp_path / "good") as server:
        yield server


@pytest.fixture
def broken(tmp_path):
    with serving(tmp_path / "broken", status=500) as server:
        yield server


@pytest.fixture
def corrupt(tmp_path):
    folder = tmp_path / "corrupt"
    folder.mkdir()
    for name in (IMAGES, LABELS):
        (folder / name).write_bytes(b"not what it should be")
    with serving(folder) as server:
        yield server


@pytest.fixture
def pets(tmp_path):
    """Describes the dataset with the given servers as its mirrors."""
    return lambda *servers: known_dataset(
        tmp_path / "good", mirrors=[server.url for server in servers]
    )


def refusal(dataset, folder):
    with pytest.raises(DataError) as caught:
        download("pets", dataset, folder)
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_every_file_is_fetched_and_checked(pets, good, tmp_path):
    dataset = pets(good)

    download("pets", dataset, tmp_path / "cache")

    found = {path.name: sha256_of(path) for path in (tmp_path / "cache").iterdir()}
    assert found == dataset.sha256


def test_the_bar_counts_the_bytes_of_all_files(pets, good, tmp_path, monkeypatch):
    dataset = pets(good)
    sizes = [(tmp_path / "good" / name).stat().st_size for name in dataset.sha256]
    bars = []

    @contextmanager
    def watched(*arguments):
        with progress_bar(*arguments) as bar:
            bars.append(bar)
            yield bar

    monkeypatch.setattr("latentlab.data.download.progress_bar", watched)
    download("pets", dataset, tmp_path / "cache")

    (task,) = bars[0].progress.tasks
    assert task.total == sum(sizes)
    assert task.completed == task.total


def test_what_is_there_already_is_not_fetched_again(pets, good, tmp_path):
    download("pets", pets(good), tmp_path / "cache")
    download("pets", pets(good), tmp_path / "cache")

    assert good.asked == {IMAGES: 1, LABELS: 1}


def test_a_damaged_file_is_fetched_again(pets, good, tmp_path):
    dataset = pets(good)
    download("pets", dataset, tmp_path / "cache")
    (tmp_path / "cache" / IMAGES).write_bytes(b"cut off")

    download("pets", dataset, tmp_path / "cache")

    assert sha256_of(tmp_path / "cache" / IMAGES) == dataset.sha256[IMAGES]
    assert good.asked == {IMAGES: 2, LABELS: 1}


def test_the_second_mirror_helps_where_the_first_fails(pets, broken, good, tmp_path):
    download("pets", pets(broken, good), tmp_path / "cache")

    assert broken.asked == {IMAGES: ATTEMPTS, LABELS: ATTEMPTS}
    assert good.asked == {IMAGES: 1, LABELS: 1}


def test_the_second_mirror_helps_where_the_first_has_other_bytes(pets, corrupt, good, tmp_path):
    dataset = pets(corrupt, good)

    download("pets", dataset, tmp_path / "cache")

    assert sha256_of(tmp_path / "cache" / IMAGES) == dataset.sha256[IMAGES]


def test_what_each_mirror_said_is_told_after_a_bounded_number_of_attempts(
    pets, broken, corrupt, tmp_path
):
    message = refusal(pets(broken, corrupt), tmp_path / "cache")

    assert f"pets: could not be downloaded ({ATTEMPTS} attempts at each mirror)" in message
    assert f"{broken.url}{IMAGES}: 500 Server Error" in message
    assert f"{corrupt.url}{IMAGES}: SHA256 hash of downloaded file" in message
    assert broken.asked == corrupt.asked == {IMAGES: ATTEMPTS}


def test_the_message_says_where_else_the_files_may_be_put(pets, broken, tmp_path):
    message = refusal(pets(broken), tmp_path / "cache")

    assert f"Put its files into {tmp_path / 'cache'}" in message
    assert "data/pets/" in message
    assert "LATENTLAB_DATA" in message


def test_a_mirror_that_does_not_answer_is_named(pets, tmp_path):
    with serving(tmp_path / "gone") as gone:
        dataset = pets(gone)

    message = refusal(dataset, tmp_path / "cache")

    assert f"{gone.url}{IMAGES}: Failed to establish a new connection" in message


def test_nothing_corrupt_is_left_behind(pets, corrupt, tmp_path):
    refusal(pets(corrupt), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_files_that_arrived_before_a_failure_are_kept(pets, good, tmp_path):
    dataset = pets(good)
    (tmp_path / "good" / LABELS).unlink()

    assert "404" in refusal(dataset, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [IMAGES]


def test_a_dataset_that_is_nowhere_is_downloaded_into_the_cache_and_read(
    pets, good, tmp_path, monkeypatch
):
    monkeypatch.setitem(KNOWN, "pets", pets(good))
    monkeypatch.delenv("LATENTLAB_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))

    raw = read_dataset("pets", 8, "auto", tmp_path / "data")

    assert raw.splits["train"][0].shape == (20, 1, 8, 8)
    assert (tmp_path / "cache" / "pets" / IMAGES).is_file()


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_mirrors(pets, good, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(NotADirectoryError):
        download("pets", pets(good), tmp_path / "cache")
