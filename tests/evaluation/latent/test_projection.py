import numpy as np
import pytest
import torch

from latentlab.evaluation.latent.projection import latent_plane, pca, tsne


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


def test_the_latent_plane_is_that_of_pca_up_to_signs():
    codes = np.random.default_rng(0).normal(size=(60, 5)) @ np.diag([5, 3, 1, 0.5, 0.1])
    expected, explained = pca(codes)

    points, axis_names = latent_plane(torch.tensor(codes))

    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    shares = [f"PC {n} ({share:.0%} of variance)" for n, share in enumerate(explained, 1)]
    assert axis_names == shares
    np.testing.assert_allclose(latent_plane(torch.tensor(-codes))[0], -points, atol=1e-9)


def test_the_latent_plane_of_two_dimensions_is_the_latent_space():
    codes = torch.tensor([[1.0, 2.0], [3.0, 5.0]])

    points, axis_names = latent_plane(codes)

    assert points.tolist() == codes.tolist()
    assert axis_names == ["latent dimension 1", "latent dimension 2"]


@pytest.mark.parametrize("codes", [torch.arange(5.0)[:, None], torch.ones(5, 4)])
def test_the_latent_plane_of_fewer_than_two_dimensions_is_finite(codes):
    points, _ = latent_plane(codes)

    assert points.shape == (5, 2)
    assert np.isfinite(points).all()
    assert not points[:, 1].any()
