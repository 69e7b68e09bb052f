"""scripts/compare_images.py, with small files instead of images."""

import base64
import runpy

import pytest


@pytest.fixture
def compare(repository, tmp_path, monkeypatch, capsys):
    def run(before, after):
        for folder, images in (("before", before), ("after", after)):
            for name, content in images.items():
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        page = tmp_path / "page.html"
        arguments = [str(tmp_path / "before"), str(tmp_path / "after"), str(page)]
        monkeypatch.setattr("sys.argv", ["compare_images.py", *arguments])
        runpy.run_path(str(repository / "scripts" / "compare_images.py"), run_name="__main__")
        return capsys.readouterr().out.strip(), page.read_text()

    return run


def data(content):
    return base64.b64encode(content).decode()


def test_the_page_shows_images_that_differ_next_to_each_other(compare):
    before = {"vae/plots/a.png": b"old", "vae/plots/b.png": b"same"}
    after = {"vae/plots/a.png": b"new", "vae/plots/b.png": b"same", "vae/metrics.json": b"{}"}

    summary, page = compare(before, after)

    assert summary == "1 of 2 images differ"
    assert summary in page
    assert page.index(data(b"old")) < page.index(data(b"new"))
    assert data(b"same") not in page


def test_added_and_removed_images_are_shown_alone(compare):
    summary, page = compare({"removed.png": b"old"}, {"added.png": b"new"})

    assert summary == "2 of 2 images differ"
    assert page.count("no image") == 2


def test_without_earlier_images_the_page_says_so_and_shows_the_new_ones(compare):
    summary, page = compare({}, {"a.png": b"new"})

    assert summary == "1 images, and none to compare with"
    assert data(b"new") in page
