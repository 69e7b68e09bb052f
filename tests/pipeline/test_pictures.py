import torch

from latentlab.data.image_set import ImageSet
from latentlab.pipeline.pictures import MAX_IMAGES, POINTS, Probe, keep_pictures


def test_the_images_in_a_grid_are_of_all_classes_if_the_images_are_sorted_by_class():
    labels = torch.arange(6).repeat_interleave(200)
    images = labels[:, None, None, None].to(torch.uint8).expand(-1, 1, 4, 4).contiguous()

    probe = Probe.of(ImageSet(images, labels), seed=0)

    assert len(probe.labels) == POINTS
    assert probe.labels[:MAX_IMAGES].bincount().min() >= 5
    torch.testing.assert_close(probe.images[:, 0, 0, 0] * 255, probe.labels.float())


def test_pictures_are_kept_by_name_and_epoch(tmp_path):
    (tmp_path / "source").mkdir()
    for file in ("000001-map.png", "000012-map.png", "000012-samples.png"):
        (tmp_path / "source" / file).write_text(file)

    keep_pictures(tmp_path / "source", tmp_path / "kept")

    kept = {
        path.relative_to(tmp_path / "kept").as_posix(): path.read_text()
        for path in (tmp_path / "kept").glob("*/*")
    }
    assert kept == {
        "map/1.png": "000001-map.png",
        "map/12.png": "000012-map.png",
        "samples/12.png": "000012-samples.png",
    }
