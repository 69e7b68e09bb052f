import numpy as np
import pytest

from latentlab.evaluation.latent.clusters import find_clusters

CENTERS = np.array([[0, 0], [10, 0], [0, 10], [20, 20], [30, 0]], np.float32)
SIZES = (20, 50, 40, 30, 10)


@pytest.fixture
def codes():
    """Codes of five separate groups of different sizes."""
    noise = np.random.default_rng(0).normal(scale=0.3, size=(sum(SIZES), 2))
    return (CENTERS.repeat(SIZES, axis=0) + noise).astype(np.float32)


def test_separate_groups_are_the_clusters_and_the_largest_is_the_first(codes):
    clusters = find_clusters(codes, seed=0)

    by_size = CENTERS[np.argsort(SIZES)[::-1]]
    np.testing.assert_allclose(clusters.centers, by_size, atol=0.5)
    assert clusters.names == [f"cluster {number}" for number in range(1, 6)]
    assert np.bincount(clusters.assign(codes)).tolist() == sorted(SIZES, reverse=True)
    assert clusters.silhouette > 0.9


def test_a_medoid_is_the_code_with_the_smallest_squared_distances_in_its_cluster(codes):
    clusters = find_clusters(codes, seed=0)

    assigned = clusters.assign(codes)
    for index, medoid in enumerate(clusters.medoids):
        members = codes[assigned == index]
        costs = ((members[:, None] - members) ** 2).sum((1, 2))
        np.testing.assert_array_equal(medoid, members[costs.argmin()])


def test_the_clusters_are_reproducible(codes):
    first, second = (find_clusters(codes, seed=3) for _ in range(2))

    np.testing.assert_array_equal(first.centers, second.centers)


@pytest.mark.parametrize("different", [1, 2, 3])
def test_too_few_different_codes_are_one_cluster(different):
    codes = np.arange(different, dtype=np.float32).repeat(10)[:, None]

    clusters = find_clusters(codes, seed=0)

    assert clusters.names == ["cluster 1"]
    assert np.isnan(clusters.silhouette)
    assert clusters.assign(codes).tolist() == [0] * len(codes)
