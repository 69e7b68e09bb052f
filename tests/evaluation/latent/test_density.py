import numpy as np
from scipy.stats import kstest
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KernelDensity

from latentlab.evaluation.latent.density import BANDWIDTHS, Axes, fit_density, uniform_codes


def normal(count, *deviations, seed=0):
    samples = np.random.default_rng(seed).normal(size=(count, len(deviations)))
    return (samples * deviations + 3).astype(np.float32)


def test_codes_of_few_dimensions_keep_their_axes():
    codes = normal(500, 2.0, 0.5)
    axes = Axes.of(codes)

    np.testing.assert_allclose(
        axes.to_points(codes), (codes - codes.mean(0)) / codes.std(0), rtol=1e-4, atol=1e-4
    )


def test_codes_of_many_dimensions_are_rotated_to_their_principal_components():
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    codes = normal(4000, 5, 3, 2, 1, 0.5) @ rotation
    axes = Axes.of(codes)
    points = axes.to_points(codes)

    np.testing.assert_allclose(np.cov(points, rowvar=False), np.eye(5), atol=0.01)
    assert np.all(np.diff(axes.scales) < 0)
    np.testing.assert_allclose(axes.scales, [5, 3, 2, 1, 0.5], rtol=0.05)


def test_points_are_mapped_back_to_their_codes():
    for dimensions in (1, 2, 3, 6):
        codes = normal(50, *range(1, dimensions + 1))
        axes = Axes.of(codes)

        np.testing.assert_allclose(axes.to_codes(axes.to_points(codes)), codes, atol=1e-4)


def test_codes_of_one_or_two_dimensions_are_plotted_as_they_are():
    for dimensions in (1, 2):
        codes = normal(50, *range(1, dimensions + 1))
        axes = Axes.for_plots(codes)

        np.testing.assert_array_equal(axes.to_points(codes), codes)
        np.testing.assert_array_equal(axes.to_codes(codes), codes)


def test_longer_codes_are_plotted_along_their_principal_components():
    codes = normal(4000, 1, 4, 2)
    points = Axes.for_plots(codes).to_points(codes)

    np.testing.assert_allclose(points.std(0), [4, 2, 1], rtol=0.05)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-3)


def test_a_constant_dimension_is_not_scaled_up():
    codes = normal(50, 1.0, 0.0)
    points = Axes.of(codes).to_points(codes)

    assert np.abs(points[:, 1]).max() < 1


def test_the_bandwidth_has_the_highest_cross_validated_likelihood():
    codes = normal(300, 1.0, 1.0)
    density = fit_density(codes, seed=0)
    points = density.axes.to_points(codes)

    scores = [cross_val_score(KernelDensity(bandwidth=b), points).mean() for b in BANDWIDTHS]
    best = int(np.argmax(scores))
    assert density.bandwidth in BANDWIDTHS[max(best - 1, 0) : best + 2]


def test_samples_have_the_distribution_of_the_codes():
    codes = normal(2000, 2.0, 0.5)
    codes[:1000, 0] += 12  # two clusters

    samples = fit_density(codes, seed=0).sample(2000, seed=1)

    assert samples.shape == (2000, 2)
    assert samples.dtype == np.float32
    for axis in range(2):
        assert kstest(samples[:, axis], codes[:, axis]).statistic < 0.08


def test_equal_seeds_give_equal_samples():
    codes = normal(100, 1.0, 1.0, 1.0, 1.0)

    first, again, other = (fit_density(codes, 0).sample(10, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_density_can_be_estimated_from_four_codes():
    assert np.isfinite(fit_density(normal(4, 1.0, 1.0), 0).sample(5, 0)).all()


def test_the_log_density_is_the_mean_over_kernels_along_the_axes():
    codes = normal(100, 2.0, 0.5)
    density = fit_density(codes, seed=0)

    points = density.axes.to_points(codes)
    squares = ((points[:, None] - points) ** 2).sum(2) / density.bandwidth**2
    kernels = np.exp(-squares / 2) / (2 * np.pi * density.bandwidth**2)
    np.testing.assert_allclose(density.log_density(codes), np.log(kernels.mean(1)), rtol=1e-3)


def test_samples_of_the_principal_plane_vary_along_two_components_only():
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    codes = normal(500, 5, 3, 0.4, 0.3, 0.2) @ rotation

    samples = fit_density(codes, 0, Axes.principal_plane(codes)).sample(2000, seed=1)

    deviations = np.linalg.svd(samples - samples.mean(0), compute_uv=False) / np.sqrt(2000)
    np.testing.assert_allclose(deviations, [5, 3, 0, 0, 0], rtol=0.2, atol=1e-4)
    np.testing.assert_allclose(samples.mean(0), codes.mean(0), atol=0.5)


def test_uniform_codes_fill_the_range_of_the_codes():
    codes = normal(100, 2.0, 0.5)

    drawn = uniform_codes(codes, 4000, seed=0)

    for values, limits in zip(drawn.T, zip(codes.min(0), codes.max(0), strict=True), strict=True):
        assert kstest(values, "uniform", (limits[0], limits[1] - limits[0])).pvalue > 0.01
