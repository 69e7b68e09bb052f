import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from latentlab.data.corruption import Corruption, CorruptionSpec, blur
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import corrupted_batches, restoration_metrics
from latentlab.evaluation.wiener import RIDGE, LinearFilter, LinearFilters


def corruption_of(name, low, high=None, clip=False):
    return Corruption([CorruptionSpec(name, low, low if high is None else high)], clip)


@pytest.fixture(scope="module")
def images():
    """Smooth images of 6 by 6 pixels, whose neighboring pixels are correlated."""
    random = np.random.default_rng(0)
    coarse = random.normal(size=(4000, 1, 3, 3)).repeat(2, 2).repeat(2, 3)
    pixels = 128 + 35 * (coarse + 0.2 * random.normal(size=(4000, 1, 6, 6)))
    return ImageSet(
        torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), torch.zeros(4000, dtype=torch.int64)
    )


@pytest.mark.parametrize("name", ["occlusion", "salt_and_pepper"])
def test_the_filter_is_the_linear_regression_of_clean_on_corrupted_images(images, name):
    corruption = corruption_of(name, 0.2)
    pairs = list(corrupted_batches(images, corruption, seed=0))
    clean, corrupted = (torch.cat(parts).flatten(1).numpy() for parts in zip(*pairs, strict=True))

    filtered = LinearFilters(images, seed=0).of(corruption)(torch.from_numpy(corrupted))

    expected = LinearRegression().fit(corrupted, clean).predict(corrupted)
    assert filtered.numpy() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("name", ["gaussian", "blur"])
def test_a_filter_of_fewer_images_than_pixels_is_that_of_their_moments(images, name):
    few = images.take(torch.arange(30))
    corruption = corruption_of(name, 0.4)
    filters = LinearFilters(few, seed=0)
    y = torch.cat([corrupted for _, corrupted in corrupted_batches(few, corruption, 0)])
    clean = few.floats().flatten(1).double()
    seen = clean if name == "gaussian" else y.flatten(1).double()
    noise = 0.4**2 if name == "gaussian" else 0.0
    moments = torch.cat([clean, seen], 1).T.cov(correction=0)
    expected = LinearFilter.of_moments(
        *(clean.mean(0), seen.mean(0)),
        *(moments[:36, 36:], moments[36:, 36:] + noise * torch.eye(36)),
    )

    restored = filters.of(corruption)(y)

    assert restored.numpy() == pytest.approx(expected(y).numpy(), abs=1e-4)


def test_a_strong_blur_is_inverted_as_well_as_in_float64():
    random = torch.Generator().manual_seed(0)
    noise = ImageSet(
        torch.randint(0, 256, (3000, 1, 16, 16), generator=random, dtype=torch.uint8),
        torch.zeros(3000, dtype=torch.int64),
    )
    smooth = blur(noise.floats(), torch.full((3000, 1, 1, 1), 1.2), None) * 255
    images = ImageSet(smooth.round().to(torch.uint8), noise.labels)
    corruption = corruption_of("blur", 1.0)
    pairs = list(corrupted_batches(images, corruption, seed=0))
    x, y = (torch.cat(parts).flatten(1).double().numpy() for parts in zip(*pairs, strict=True))
    covariance = np.cov(y, rowvar=False, bias=True)
    ridge = RIDGE * covariance.diagonal().mean() * np.eye(256)
    cross_covariance = (y - y.mean(0)).T @ (x - x.mean(0)) / len(x)
    expected = (y - y.mean(0)) @ np.linalg.solve(covariance + ridge, cross_covariance) + x.mean(0)

    fitted = LinearFilters(images, seed=0).of(corruption)
    metrics = restoration_metrics(fitted, images, corruption, 0)

    assert metrics["mse"] == pytest.approx(np.square(expected - x).mean(), rel=0.05)


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.3), (0.05, 0.55)])
def test_for_gaussian_noise_the_filter_is_the_closed_form(images, low, high):
    """E[x] + S (S + E[sigma^2] I)^-1 (y - E[x]), where S is the covariance of clean images."""
    corruption = corruption_of("gaussian", low, high)
    variance = np.square(np.linspace(low, high, 100_001)).mean()
    clean = images.floats().flatten(1).double().numpy()
    covariance = np.cov(clean, rowvar=False, bias=True)
    weights = np.linalg.solve(covariance + variance * np.eye(36), covariance)
    corrupted = torch.cat([pair[1] for pair in corrupted_batches(images, corruption, seed=1)])
    expected = clean.mean(0) + (corrupted.flatten(1).double().numpy() - clean.mean(0)) @ weights

    restored = LinearFilters(images, seed=0).of(corruption)(corrupted)

    assert restored.shape == corrupted.shape
    assert restored.flatten(1).numpy() == pytest.approx(expected, abs=1e-4)


def test_a_filter_fitted_to_clipped_noise_agrees_with_the_closed_form_for_weak_noise(images):
    """Clipping hardly changes weak noise, but makes its variance unknown."""
    gray = ImageSet(images.images // 2 + 64, images.labels)
    filters = [
        LinearFilters(gray, seed=0).of(corruption_of("gaussian", 0.05, clip=clip))
        for clip in (False, True)
    ]

    closed_form, fitted = (each(gray.floats()) for each in filters)

    assert fitted.numpy() == pytest.approx(closed_form.numpy(), abs=0.01)


def test_few_images_are_corrupted_often_enough_to_avoid_overfitting(images):
    """The filter is compared with its closed form.

    A pixel is kept with probability q, else it becomes 0 or 1. Then Cov(x, y) = q S, and Cov(y) is
    q^2 S except for its diagonal E[y^2] - E[y]^2.
    """
    few = images.take(torch.arange(80))  # each filter has 36 weights per pixel
    kept = 0.7
    corruption = corruption_of("salt_and_pepper", 1 - kept)
    clean = few.floats().flatten(1).double().numpy()
    covariance = np.cov(clean, rowvar=False, bias=True)
    white = (1 - kept) / 2
    mean = kept * clean.mean(0) + white
    corrupted_covariance = kept**2 * covariance
    np.fill_diagonal(corrupted_covariance, kept * np.square(clean).mean(0) + white - mean**2)
    weights = np.linalg.solve(corrupted_covariance, kept * covariance)
    unseen = images.take(torch.arange(2000, 4000))
    corrupted = [
        noisy.flatten(1).double().numpy() for _, noisy in corrupted_batches(unseen, corruption, 9)
    ]
    expected = clean.mean(0) + (np.concatenate(corrupted) - mean) @ weights
    error = np.square(expected - unseen.floats().flatten(1).double().numpy()).mean()

    fitted = LinearFilters(few, seed=0).of(corruption)

    assert restoration_metrics(fitted, unseen, corruption, 9)["mse"] < 1.15 * error


def test_a_constant_pixel_is_restored(images):
    constant = images.images.clone()
    constant[:, :, 0, 0] = 0
    filters = LinearFilters(ImageSet(constant, images.labels), seed=0)
    fitted = filters.of(corruption_of("occlusion", 0.1))

    restored = fitted(constant[:10].float() / 255)
    assert restored.isfinite().all()
    assert float(restored[:, :, 0, 0].abs().max()) < 1e-4


def test_each_corruption_is_fitted_once(images):
    filters = LinearFilters(images, seed=0)
    first = filters.of(corruption_of("gaussian", 0.2))

    assert filters.of(corruption_of("gaussian", 0.2)) is first
    assert filters.of(corruption_of("gaussian", 0.2, 0.3)) is not first
    assert filters.of(corruption_of("gaussian", 0.2, clip=True)) is not first


def test_large_images_have_no_filter():
    large = ImageSet(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.zeros(2))

    assert LinearFilters(large, seed=0).of(corruption_of("blur", 1.0)) is None
