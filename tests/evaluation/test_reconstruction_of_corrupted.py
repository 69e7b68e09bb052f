import pytest
import torch

from latentlab.data.corruption import Corruption, Kind
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import corrupted_batches, restoration_metrics, robustness

NOISE = Corruption([Kind("gaussian", 0.2, 0.2)])


@pytest.fixture
def images():
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2500, 1, 8, 8), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(2500) % 2)


def same(images):
    return images


def half(images):
    return images / 2


def test_errors_are_those_of_the_whole_split(images):
    batches = list(corrupted_batches(images, NOISE, seed=4))
    clean, corrupted = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert len(batches) > 1

    found = restoration_metrics(half, images, NOISE, seed=4)

    assert torch.equal(clean, images.floats())
    assert found["mse"] == pytest.approx(float((corrupted / 2 - clean).square().mean()), rel=1e-5)
    assert found["corrupted_mse"] == pytest.approx(0.04, rel=0.02)
    assert found == restoration_metrics(half, images, NOISE, seed=4)


def test_every_method_gets_the_same_spoilt_images(images):
    def brighter_half(made):
        """Odd classes, as it sees them, are those with a bright first pixel."""
        return torch.stack([0.5 - made[:, 0, 0, 0], made[:, 0, 0, 0] - 0.5], 1)

    found = robustness({"same": same, "again": same, "half": half}, brighter_half, images, NOISE, 4)

    assert found["same"] == found["again"]
    expected = restoration_metrics(half, images, NOISE, seed=4)
    assert found["half"]["mse"] == pytest.approx(expected["mse"])
    assert found["same"]["mse"] == pytest.approx(expected["corrupted_mse"])
    corrupted = torch.cat([corrupted for _, corrupted in corrupted_batches(images, NOISE, 4)])
    for name, bound in (("same", 0.5), ("half", 1.0)):
        hits = (corrupted[:, 0, 0, 0] > bound) == images.labels.bool()
        assert found[name]["accuracy"] == pytest.approx(float(hits.float().mean()))
