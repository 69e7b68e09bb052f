import pytest
import torch
from torch import nn

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.features import features_of_set
from latentlab.evaluation.generation import frechet_distance
from latentlab.evaluation.generator_monitor import FRECHET, GeneratorMonitor
from latentlab.models.reference import ReferenceClassifier

CPU = torch.device("cpu")


@pytest.fixture
def judge():
    """A classifier whose classes are told by brightness, as far as random weights go."""
    torch.manual_seed(0)
    return ReferenceClassifier((1, 8, 8), [4, 6], 5, 3).eval()


@pytest.fixture
def images():
    drawn = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (80, 1, 8, 8), generator=drawn, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(80, dtype=torch.int64))


class Copier(nn.Module):
    """Draws images of a set, or always the first of it."""

    def __init__(self, images, one=False):
        super().__init__()
        self.images, self.one = images, one

    def sample(self, count, generator):
        order = torch.randint(len(self.images), (count,), generator=generator)
        return self.images.floats(torch.zeros_like(order) if self.one else order)


def test_a_generator_of_real_images_is_near_and_did_not_collapse(judge, images):
    monitor = GeneratorMonitor(judge, images, 300, 0, CPU)
    record = monitor.judge(Copier(images))

    assert record[FRECHET] < 0.2 * monitor.judge(Copier(images, one=True))[FRECHET]
    assert record["validation/diversity"] == pytest.approx(1, abs=0.15)
    assert record["validation/collapsed"] == 0
    assert record == monitor.judge(Copier(images))


def test_a_generator_of_one_image_trips_the_alarm(judge, images):
    record = GeneratorMonitor(judge, images, 300, 0, CPU).judge(Copier(images, one=True))

    assert record["validation/collapsed"] == 1
    assert record["validation/diversity"] == pytest.approx(0, abs=1e-6)
    assert record["validation/class_entropy"] == 0


def test_a_generator_of_one_image_of_each_class_trips_the_alarm(judge, images):
    with torch.no_grad():  # so that none of its classes has all images
        judge.to_logits.bias -= judge(images.floats()).mean(0)
    classes = features_of_set(judge, images).classes
    firsts = [int(torch.tensor(classes == each).nonzero()[0]) for each in sorted(set(classes))]
    assert len(firsts) > 1
    few = ImageSet(images.images[firsts], images.labels[firsts])

    record = GeneratorMonitor(judge, images, 300, 0, CPU).judge(Copier(few))

    assert record["validation/collapsed"] == 1
    assert record["validation/diversity_in_classes"] == pytest.approx(0, abs=1e-6)
    assert record["validation/diversity"] > 0.2


def test_the_floor_is_the_distance_of_other_real_images(judge, images):
    monitor = GeneratorMonitor(judge, images, 30, 0, CPU)
    floor = monitor.real_baseline(images)

    assert floor == {
        "classifier_frechet_distance": floor["classifier_frechet_distance"],
        "samples": 30,
        "reference": 80,
    }
    assert (
        0 < floor["classifier_frechet_distance"] < monitor.judge(Copier(images, one=True))[FRECHET]
    )
    whole = GeneratorMonitor(judge, images, 80, 0, CPU).floor(images)
    assert whole["classifier_frechet_distance"] == pytest.approx(0, abs=1e-4)


def test_the_distance_is_that_of_the_classifier_s_features(judge, images):
    class Exact(Copier):
        def sample(self, count, generator):
            return self.images.floats(slice(count))

    other = ImageSet(images.images // 2, images.labels)
    record = GeneratorMonitor(judge, images, 80, 0, CPU).judge(Exact(other))
    features = [features_of_set(judge, each).values for each in (other, images)]

    assert record[FRECHET] == pytest.approx(frechet_distance(*features))
