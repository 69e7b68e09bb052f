import math

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors

from latentlab.evaluation import generation
from latentlab.evaluation.features import Features
from latentlab.evaluation.generation import (
    class_shares,
    diversity,
    diversity_in_classes,
    entropy,
    frechet_distance,
    kernel_distance,
    neighbor_metrics,
    total_variance,
)


@pytest.fixture
def clouds():
    """Two partly overlapping sets of points."""
    random = np.random.default_rng(5)
    return random.normal(size=(1300, 3)), random.normal(size=(900, 3)) * 0.8 + 0.5


def test_the_frechet_distance_of_shifted_gaussians_is_the_squared_shift():
    features = np.random.default_rng(0).normal(size=(500, 4))

    assert frechet_distance(features, features + 2.0) == pytest.approx(16.0)
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-9)


def test_the_frechet_distance_of_scaled_gaussians_is_the_closed_form():
    """For covariances C and s^2 C the distance is (1 - s)^2 tr C."""
    features = np.random.default_rng(1).normal(size=(400, 3)) @ np.diag([1.0, 2.0, 3.0])
    centered = features - features.mean(0)

    expected = (1 - 3) ** 2 * np.trace(np.cov(centered, rowvar=False))

    assert frechet_distance(centered, 3 * centered) == pytest.approx(expected)


def test_the_frechet_distance_equals_the_formula_with_a_matrix_square_root():
    random = np.random.default_rng(2)
    first = random.normal(size=(300, 5)) @ random.normal(size=(5, 5))
    second = random.normal(size=(200, 5)) @ random.normal(size=(5, 5)) + 1
    covariances = [np.cov(values, rowvar=False) for values in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(
        covariances[0] + covariances[1] - 2 * root
    )

    assert frechet_distance(first, second) == pytest.approx(expected)


def test_relative_to_the_variance_the_frechet_distance_does_not_depend_on_the_scale(clouds):
    samples, real = clouds

    expected = frechet_distance(samples, real) / np.trace(np.cov(real, rowvar=False))

    for scale in (1, 7):
        distance = frechet_distance(scale * samples, scale * real)
        assert distance / total_variance(scale * real) == pytest.approx(expected)


def test_the_total_variance_of_equal_features_is_not_zero():
    assert 0 < total_variance(np.ones((5, 2))) < 1e-9


def test_the_kernel_distance_equals_the_formula_of_the_unbiased_estimate(clouds, monkeypatch):
    """With all points in one subset; points have three coordinates."""
    first, second = clouds[0][:400], clouds[1][:400]
    monkeypatch.setattr(generation, "KERNEL_SUBSET_SIZE", 400)

    def kernel(x, y):
        return (x @ y.T / 3 + 1) ** 3

    off_diagonal = ~np.eye(400, dtype=bool)
    expected = (
        kernel(first, first)[off_diagonal].mean() + kernel(second, second)[off_diagonal].mean()
    )
    expected -= 2 * kernel(first, second).mean()

    distance = kernel_distance(first, second, seed=0)
    assert distance["mean"] == pytest.approx(expected)
    assert distance["std"] == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_of_equal_distributions_is_about_zero(clouds, monkeypatch):
    monkeypatch.setattr(generation, "KERNEL_SUBSET_SIZE", 100)
    equal = kernel_distance(clouds[0][:600], clouds[0][600:1200], seed=0)
    different = kernel_distance(*clouds, seed=0)

    assert abs(equal["mean"]) < 0.05 * different["mean"]
    assert different == kernel_distance(*clouds, seed=0)


def test_neighbor_metrics_equal_their_definitions_with_neighbors_from_scikit_learn(clouds):
    samples, real = clouds
    sets = {"real": real, "samples": samples}
    radii = {
        name: NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points)[0][:, 5]
        for name, points in sets.items()
    }
    distances = np.linalg.norm(samples[:, None] - real, axis=2)
    in_real = distances <= radii["real"]

    assert neighbor_metrics(samples, real) == pytest.approx(
        {
            "precision": in_real.any(1).mean(),
            "recall": (distances <= radii["samples"][:, None]).any(0).mean(),
            "density": in_real.sum(1).mean() / 5,
            "coverage": in_real.any(0).mean(),
        }
    )


def test_a_repeated_real_image_has_full_precision_and_no_coverage(clouds):
    _, real = clouds
    metrics = neighbor_metrics(np.repeat(real[:1], 500, 0), real)

    assert metrics["precision"] == 1
    assert metrics["recall"] < 0.01
    assert metrics["coverage"] < 0.05


def test_diversity_is_the_ratio_of_mean_distances(clouds):
    points, _ = clouds
    pairs = np.linalg.norm(points[:, None] - points, axis=2).mean() * 1300 / 1299

    assert diversity(3 * points, points, seed=0) == pytest.approx(3)
    assert diversity(points[:1].repeat(100, 0), points, seed=0) == 0
    measured = generation._mean_distance(points, seed=0)
    assert measured == pytest.approx(pairs, rel=0.03)


def test_small_sets_use_fewer_neighbors_and_include_points_on_the_radius():
    random = np.random.default_rng(0)
    few = random.normal(size=(4, 3))

    same = neighbor_metrics(few, few)
    assert same == {"precision": 1, "recall": 1, "density": pytest.approx(4 / 3), "coverage": 1}
    assert neighbor_metrics(few + 1000, few)["precision"] == 0


def test_diversity_in_classes_is_zero_for_one_image_per_class(clouds):
    points = clouds[0][:400]
    classes = np.arange(400) % 4
    real = Features(points, classes)
    one_per_class = Features(points[classes], classes)
    doubled = Features(2 * points, classes)
    one_image_per_class = Features(points[:4], np.arange(4))

    assert diversity_in_classes(one_per_class, real, seed=0) == 0
    assert diversity(one_per_class.values, points, seed=0) > 0.3
    assert diversity_in_classes(doubled, real, seed=0) == pytest.approx(2)
    assert diversity_in_classes(one_image_per_class, real, seed=0) == 0


def test_the_entropy_of_equal_class_shares_is_the_logarithm_of_their_number():
    assert class_shares(np.array([1, 1, 2, 1]), 4).tolist() == [0, 0.75, 0.25, 0]
    assert entropy(np.full(10, 0.1)) == pytest.approx(math.log(10))
    assert entropy(np.array([0.0, 1.0])) == 0
