import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KernelDensity

from latentlab.evaluation.latent.density import BANDWIDTHS, Axes, fit_density


def normal(count, *deviations, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(count, len(deviations)))
    return (drawn * deviations + 3).astype(np.float32)


def test_few_dimensions_keep_their_axes():
    codes = normal(500, 2.0, 0.5)
    axes = Axes.of(codes)

    np.testing.assert_allclose(
        axes.to_points(codes), (codes - codes.mean(0)) / codes.std(0), rtol=1e-4, atol=1e-4
    )


def test_many_dimensions_are_turned_to_their_principal_components():
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    codes = normal(4000, 5, 3, 2, 1, 0.5) @ turn
    axes = Axes.of(codes)
    points = axes.to_points(codes)

    np.testing.assert_allclose(np.cov(points, rowvar=False), np.eye(5), atol=0.01)
    assert np.all(np.diff(axes.scales) < 0)
    np.testing.assert_allclose(axes.scales, [5, 3, 2, 1, 0.5], rtol=0.05)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 6])
def test_points_come_back_as_the_codes_they_were(dimensions):
    codes = normal(50, *range(1, dimensions + 1))
    axes = Axes.of(codes)

    np.testing.assert_allclose(axes.to_codes(axes.to_points(codes)), codes, atol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_codes_of_two_dimensions_are_looked_at_as_they_are(dimensions):
    codes = normal(50, *range(1, dimensions + 1))
    axes = Axes.to_look_at(codes)

    np.testing.assert_array_equal(axes.to_points(codes), codes)
    np.testing.assert_array_equal(axes.to_codes(codes), codes)


def test_longer_codes_are_looked_at_along_their_principal_components():
    codes = normal(4000, 1, 4, 2)
    points = Axes.to_look_at(codes).to_points(codes)

    np.testing.assert_allclose(points.std(0), [4, 2, 1], rtol=0.05)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-3)


def test_a_dimension_that_says_nothing_is_not_blown_up():
    codes = normal(50, 1.0, 0.0)
    points = Axes.of(codes).to_points(codes)

    assert np.abs(points[:, 1]).max() < 1


def test_the_bandwidth_has_the_greatest_likelihood_of_codes_left_out():
    codes = normal(300, 1.0, 1.0)
    density = fit_density(codes, seed=0)
    points = density.axes.to_points(codes)

    scores = [cross_val_score(KernelDensity(bandwidth=b), points).mean() for b in BANDWIDTHS]
    best = int(np.argmax(scores))
    assert density.bandwidth in BANDWIDTHS[max(best - 1, 0) : best + 2]


def test_what_is_drawn_is_spread_as_the_codes():
    codes = normal(2000, 2.0, 0.5)
    codes[:1000, 0] += 12  # two heaps

    drawn = fit_density(codes, seed=0).sample(2000, seed=1)

    assert drawn.shape == (2000, 2)
    assert drawn.dtype == np.float32
    for axis in range(2):
        assert kstest(drawn[:, axis], codes[:, axis]).statistic < 0.08


def test_the_same_seed_draws_the_same():
    codes = normal(100, 1.0, 1.0, 1.0, 1.0)

    first, again, other = (fit_density(codes, 0).sample(10, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_handful_of_codes_is_enough():
    assert np.isfinite(fit_density(normal(4, 1.0, 1.0), 0).sample(5, 0)).all()
