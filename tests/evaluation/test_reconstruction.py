import pytest
import torch
from torch.nn.functional import mse_loss

from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import (
    corrupted_batches,
    reconstruction_metrics,
    restoration_metrics,
    robustness,
)
from latentlab.models import inference

NOISE = Corruption([CorruptionSpec("gaussian", 0.2, 0.2)])


@pytest.fixture
def images():
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (7, 3, 8, 8), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(7, dtype=torch.int64))


@pytest.fixture
def two_classes():
    """Images of two classes in more than one batch."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2500, 1, 8, 8), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(2500) % 2)


def same(images):
    return images


def half(images):
    return images / 2


def test_a_constant_error_has_its_square_as_mse():
    images = ImageSet(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2))

    metrics = reconstruction_metrics(lambda batch: batch + 0.1, images)

    assert metrics["mse"] == pytest.approx(0.01)
    assert metrics["psnr"] == pytest.approx(20.0)


def test_mse_equals_that_of_torch_and_psnr_is_the_mean_over_images(images):
    errors = torch.stack([mse_loss(image / 2, image) for image in images.floats()])

    metrics = reconstruction_metrics(half, images)

    assert metrics["mse"] == pytest.approx(mse_loss(images.floats() / 2, images.floats()).item())
    assert metrics["psnr"] == pytest.approx((-10 * errors.log10()).mean().item())


def test_reconstruction_metrics_do_not_depend_on_the_batch_size(images, monkeypatch):
    in_one_batch = reconstruction_metrics(half, images)
    monkeypatch.setattr(inference, "MAX_IMAGES", 3)

    assert reconstruction_metrics(half, images) == pytest.approx(in_one_batch)


def test_a_perfect_reconstruction_has_a_finite_psnr(images):
    assert reconstruction_metrics(same, images) == {"mse": 0.0, "psnr": 100.0}


def test_restoration_errors_are_means_over_the_whole_split(two_classes):
    batches = list(corrupted_batches(two_classes, NOISE, seed=4))
    clean, corrupted = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert len(batches) > 1

    metrics = restoration_metrics(half, two_classes, NOISE, seed=4)

    assert torch.equal(clean, two_classes.floats())
    expected = float((corrupted / 2 - clean).square().mean())
    assert metrics["mse"] == pytest.approx(expected, rel=1e-5)
    assert metrics["corrupted_mse"] == pytest.approx(0.04, rel=0.02)
    assert metrics == restoration_metrics(half, two_classes, NOISE, seed=4)


def test_all_methods_restore_the_same_corrupted_images(two_classes):
    def classify(restored):
        """Return logits that are higher for class 1 if the first pixel is above 0.5."""
        return torch.stack([0.5 - restored[:, 0, 0, 0], restored[:, 0, 0, 0] - 0.5], 1)

    methods = {"same": same, "again": same, "half": half}
    metrics = robustness(methods, classify, two_classes, NOISE, 4)

    assert metrics["same"] == metrics["again"]
    expected = restoration_metrics(half, two_classes, NOISE, seed=4)
    assert metrics["half"]["mse"] == pytest.approx(expected["mse"])
    assert metrics["same"]["mse"] == pytest.approx(expected["corrupted_mse"])
    corrupted = torch.cat([pair[1] for pair in corrupted_batches(two_classes, NOISE, 4)])
    for name, threshold in (("same", 0.5), ("half", 1.0)):
        correct = (corrupted[:, 0, 0, 0] > threshold) == two_classes.labels.bool()
        assert metrics[name]["accuracy"] == pytest.approx(float(correct.float().mean()))


def test_without_a_classifier_there_is_no_accuracy(two_classes):
    assert set(robustness({"same": same}, None, two_classes, NOISE, 4)["same"]) == {"mse"}
