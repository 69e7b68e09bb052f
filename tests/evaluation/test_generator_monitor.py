import pytest
import torch
from torch import nn

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.features import extract_features
from latentlab.evaluation.generation import frechet_distance
from latentlab.evaluation.generator_monitor import VALIDATION_DISTANCE, GeneratorMonitor
from latentlab.models.inference import in_batches
from latentlab.models.reference import ReferenceClassifier


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return ReferenceClassifier((1, 8, 8), [4, 6], 5, 3).eval()


@pytest.fixture
def images():
    random = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (80, 1, 8, 8), generator=random, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(80, dtype=torch.int64))


@pytest.fixture
def monitor(classifier, images):
    """Return a monitor with the given number of samples."""

    def create(samples=300):
        return GeneratorMonitor(classifier, images, samples, 0, torch.device("cpu"))

    return create


class Copier(nn.Module):
    """A generator that returns random images of a set, or always the first one."""

    def __init__(self, images, collapsed=False):
        super().__init__()
        self.images, self.collapsed = images, collapsed

    def sample(self, count, generator):
        indices = torch.randint(len(self.images), (count,), generator=generator)
        return self.images.floats(torch.zeros_like(indices) if self.collapsed else indices)


def test_a_generator_of_real_images_has_a_small_distance_and_is_not_collapsed(monitor, images):
    metrics = monitor().evaluate(Copier(images))

    assert (
        metrics[VALIDATION_DISTANCE]
        < 0.2 * monitor().evaluate(Copier(images, collapsed=True))[VALIDATION_DISTANCE]
    )
    assert metrics["validation/diversity"] == pytest.approx(1, abs=0.15)
    assert metrics["validation/collapsed"] == 0
    assert metrics == monitor().evaluate(Copier(images))


def test_a_generator_of_a_single_image_is_collapsed(monitor, images):
    metrics = monitor().evaluate(Copier(images, collapsed=True))

    assert metrics["validation/collapsed"] == 1
    assert metrics["validation/diversity"] == pytest.approx(0, abs=1e-6)
    assert metrics["validation/class_entropy"] == 0


def test_a_generator_of_one_image_per_class_is_collapsed(monitor, classifier, images):
    with torch.no_grad():  # balance the logits, so that several classes are predicted
        classifier.to_logits.bias -= classifier(images.floats()).mean(0)
    classes = extract_features(classifier, in_batches(images)).classes
    firsts = [int((classes == index).nonzero()[0][0]) for index in sorted(set(classes))]
    assert len(firsts) > 1

    metrics = monitor().evaluate(Copier(images.take(torch.tensor(firsts))))

    assert metrics["validation/collapsed"] == 1
    assert metrics["validation/diversity_in_classes"] == pytest.approx(0, abs=1e-6)
    assert metrics["validation/diversity"] > 0.2


def test_without_labels_collapse_is_recognized_by_the_diversity_alone(classifier, images):
    monitor = GeneratorMonitor(classifier, images, 300, 0, torch.device("cpu"), labeled=False)

    diverse, collapsed = (monitor.evaluate(Copier(images, each)) for each in (False, True))

    assert set(diverse) == {VALIDATION_DISTANCE, "validation/diversity", "validation/collapsed"}
    assert (diverse["validation/collapsed"], collapsed["validation/collapsed"]) == (0, 1)


def test_the_real_baseline_is_the_distance_of_other_real_images(monitor, images):
    baseline = monitor(30).real_baseline(images)

    assert (baseline["samples"], baseline["real_samples"]) == (30, 80)
    collapsed = monitor(30).evaluate(Copier(images, collapsed=True))
    assert 0 < baseline["classifier_frechet_distance"] < collapsed[VALIDATION_DISTANCE]
    of_all = monitor(80).real_baseline(images)
    assert of_all["classifier_frechet_distance"] == pytest.approx(0, abs=1e-4)


def test_the_distance_is_computed_from_the_features_of_the_classifier(monitor, classifier, images):
    class InOrder(Copier):
        def sample(self, count, generator):
            return self.images.floats(slice(count))

    darker = ImageSet(images.images // 2, images.labels)
    metrics = monitor(80).evaluate(InOrder(darker))
    first, second = (extract_features(classifier, in_batches(s)).values for s in (darker, images))

    assert metrics[VALIDATION_DISTANCE] == pytest.approx(frechet_distance(first, second))
