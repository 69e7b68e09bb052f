import pytest
import torch

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.memorization import memorization_metrics, nearest_training_images
from latentlab.models import inference


@pytest.fixture
def train():
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (120, 1, 6, 6), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(120, dtype=torch.int64))


def random_images(count, seed):
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_training_image_may_be_in_any_batch(train, monkeypatch):
    monkeypatch.setattr(inference, "MAX_IMAGES", 50)
    images = random_images(20, 1)
    all_distances = torch.cdist(images.flatten(1), train.floats().flatten(1))

    distances, indices = nearest_training_images(images, train)

    torch.testing.assert_close(distances, all_distances.min(1).values)
    assert torch.equal(indices, all_distances.argmin(1))


def test_a_generator_that_returns_training_images_memorizes(train):
    unseen, _ = nearest_training_images(random_images(60, 1), train)
    copies, indices = nearest_training_images(train.floats(slice(5, 45)), train)

    assert indices.tolist() == list(range(5, 45))
    metrics = memorization_metrics(copies, unseen)
    assert metrics["copied"] == metrics["memorized"] == 1
    assert metrics["nearest_ratio"] < 0.01


def test_images_as_far_from_training_images_as_unseen_ones_are_not_copies(train):
    unseen, others = (nearest_training_images(random_images(60, seed), train)[0] for seed in (1, 2))

    metrics = memorization_metrics(others, unseen)
    assert metrics["copied"] == metrics["memorized"] == 0
    assert metrics["nearest_ratio"] == pytest.approx(1, abs=0.1)


def test_duplicates_among_real_images_do_not_count_as_memorization():
    """In a set in which a third of the images occur twice."""
    distances = torch.tensor([0.0] * 10 + [1.0] * 20)

    assert memorization_metrics(distances, distances)["memorized"] == 0
