import numpy as np
import pytest

from latentlab.evaluation.latent.projection import pca, tsne


def test_pca_equals_the_singular_value_decomposition():
    codes = np.random.default_rng(0).normal(size=(60, 5)) @ np.diag([5, 3, 1, 0.5, 0.1])
    u, s, _ = np.linalg.svd(codes - codes.mean(0), full_matrices=False)

    for dimensions in (2, 3):
        points, explained = pca(codes, dimensions)

        expected = np.abs(u * s)[:, :dimensions]
        np.testing.assert_allclose(np.abs(points), expected, atol=1e-9)
        np.testing.assert_allclose(explained, (s**2 / (s**2).sum())[:dimensions])


def test_pca_of_one_dimension_has_a_constant_second_component():
    points, explained = pca(np.arange(5.0)[:, None])

    assert points.shape == (5, 2)
    assert explained.tolist() == [1.0, 0.0]
    assert not points[:, 1].any()


@pytest.mark.parametrize(("count", "dimensions"), [(20, 2), (80, 3)])
def test_tsne_is_reproducible_and_lowers_its_perplexity_for_few_points(count, dimensions):
    codes = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)

    first, again = (tsne(codes, dimensions, 30.0, seed=0) for _ in range(2))

    assert first.shape == (count, dimensions)
    np.testing.assert_array_equal(first, again)


def test_tsne_separates_distant_clusters():
    codes = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    codes[30:, 0] += 50

    points = tsne(codes, 2, 10.0, seed=0)

    distance = np.linalg.norm(points[:30].mean(0) - points[30:].mean(0))
    assert distance > 2 * max(points[:30].std(), points[30:].std())


def test_pca_of_constant_codes_explains_no_variance():
    points, explained = pca(np.ones((5, 4)), 3)

    assert points.shape == (5, 3)
    assert not points.any()
    assert not explained.any()


@pytest.mark.parametrize(("length", "dimensions"), [(1, 2), (2, 3)])
def test_tsne_uses_all_its_dimensions_if_codes_have_fewer(length, dimensions):
    codes = np.random.default_rng(0).normal(size=(60, length)).astype(np.float32)

    spread = tsne(codes, dimensions, 10.0, seed=0).std(0)

    assert spread.min() > 0.05 * spread.max()


def test_tsne_of_constant_or_one_dimensional_codes_is_finite():
    assert np.isfinite(tsne(np.zeros((20, 3), np.float32), 2, 5.0, seed=0)).all()
    assert np.isfinite(tsne(np.arange(20, dtype=np.float32)[:, None], 2, 5.0, seed=0)).all()
