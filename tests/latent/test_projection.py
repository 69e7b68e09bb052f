import numpy as np
import pytest

from latentlab.latent.projection import pca, tsne


def test_pca_equals_the_singular_value_decomposition():
    codes = np.random.default_rng(0).normal(size=(60, 5)) @ np.diag([5, 3, 1, 0.5, 0.1])
    centred = codes - codes.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)

    points, explained = pca(codes)

    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-9)
    np.testing.assert_allclose(explained, (s**2 / (s**2).sum())[:2])


def test_pca_of_a_single_dimension_is_a_line():
    points, explained = pca(np.arange(5.0)[:, None])

    assert points.shape == (5, 2)
    assert explained.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("count", [20, 80])
def test_tsne_is_seeded_and_lowers_its_perplexity_for_few_points(count):
    codes = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)

    first, again = tsne(codes, 30.0, seed=0), tsne(codes, 30.0, seed=0)

    assert first.shape == (count, 2)
    np.testing.assert_array_equal(first, again)
