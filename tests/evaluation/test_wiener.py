import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from latentlab.data.corruption import Corruption, Kind, blur
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.restoration import restoration_metrics, spoilt_batches
from latentlab.evaluation.wiener import RIDGE, LinearFilter, LinearFilters


@pytest.fixture(scope="module")
def images():
    """Smooth images of 6 by 6 pixels: neighbours say much of each other."""
    random = np.random.default_rng(0)
    coarse = random.normal(size=(4000, 1, 3, 3)).repeat(2, 2).repeat(2, 3)
    pixels = 128 + 35 * (coarse + 0.2 * random.normal(size=(4000, 1, 6, 6)))
    return ImageSet(
        torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), torch.zeros(4000, dtype=torch.int64)
    )


@pytest.mark.parametrize("kind", ["gaussian", "occlusion", "salt_and_pepper"])
def test_it_is_the_linear_regression_of_clean_on_spoilt_images(images, kind):
    corruption = Corruption([Kind(kind, 0.2, 0.2)])
    pairs = list(spoilt_batches(images, corruption, seed=0))
    clean, spoilt = (torch.cat(parts).flatten(1).numpy() for parts in zip(*pairs, strict=True))

    filtered = LinearFilter.fit(images, corruption, seed=0)(torch.from_numpy(spoilt))

    expected = LinearRegression().fit(spoilt, clean).predict(spoilt)
    assert filtered.numpy() == pytest.approx(expected, abs=2e-3)


def test_where_blur_leaves_next_to_nothing_it_is_as_close_as_in_twice_the_precision():
    random = torch.Generator().manual_seed(0)
    drawn = ImageSet(
        torch.randint(0, 256, (3000, 1, 16, 16), generator=random, dtype=torch.uint8),
        torch.zeros(3000, dtype=torch.int64),
    )
    smooth = blur(drawn.floats(), torch.full((3000, 1, 1, 1), 1.2), None) * 255
    images = ImageSet(smooth.round().to(torch.uint8), drawn.labels)
    corruption = Corruption([Kind("blur", 1.0, 1.0)])
    pairs = list(spoilt_batches(images, corruption, seed=0))
    x, y = (torch.cat(parts).flatten(1).double().numpy() for parts in zip(*pairs, strict=True))
    covariance = np.cov(y, rowvar=False, bias=True)
    ridge = RIDGE * covariance.diagonal().mean() * np.eye(256)
    both = (y - y.mean(0)).T @ (x - x.mean(0)) / len(x)
    expected = (y - y.mean(0)) @ np.linalg.solve(covariance + ridge, both) + x.mean(0)

    found = restoration_metrics(LinearFilter.fit(images, corruption, 0), images, corruption, 0)

    assert found["mse"] == pytest.approx(np.square(expected - x).mean(), rel=0.05)


def test_for_gaussian_noise_it_is_the_filter_of_the_textbook(images):
    """E[x] + S (S + sigma^2 I)^-1 (y - E[x]), with S the covariance of clean images."""
    sigma = 0.3
    corruption = Corruption([Kind("gaussian", sigma, sigma)])
    clean = images.floats().flatten(1).double().numpy()
    covariance = np.cov(clean, rowvar=False)
    weights = np.linalg.solve(covariance + sigma**2 * np.eye(36), covariance)
    spoilt = torch.cat([s for _, s in spoilt_batches(images, corruption, seed=1)])
    offsets = spoilt.flatten(1).double().numpy() - clean.mean(0)

    fitted = LinearFilter.fit(images, corruption, seed=0)
    assert fitted(spoilt).shape == spoilt.shape
    expected = clean.mean(0) + offsets @ weights
    error = np.square(expected - clean).mean()
    found = restoration_metrics(fitted, images, corruption, seed=1)["mse"]
    assert found == pytest.approx(error, rel=0.02)


def test_few_images_are_spoilt_often_enough_not_to_learn_their_noise(images):
    few = images.take(torch.arange(80))  # a filter of each pixel by 36, from 80 of them
    corruption = Corruption([Kind("gaussian", 0.3, 0.3)])
    clean = few.floats().flatten(1).double().numpy()
    covariance = np.cov(clean, rowvar=False, bias=True)
    weights = np.linalg.solve(covariance + 0.09 * np.eye(36), covariance)
    unseen = images.take(torch.arange(2000, 4000))
    offsets = [s.flatten(1).double().numpy() for _, s in spoilt_batches(unseen, corruption, 9)]
    expected = clean.mean(0) + (np.concatenate(offsets) - clean.mean(0)) @ weights
    error = np.square(expected - unseen.floats().flatten(1).double().numpy()).mean()

    fitted = LinearFilter.fit(few, corruption, seed=0)

    assert restoration_metrics(fitted, unseen, corruption, 9)["mse"] < 1.15 * error


def test_a_pixel_that_never_varies_is_no_fault(images):
    still = images.images.clone()
    still[:, :, 0, 0] = 0
    fitted = LinearFilter.fit(
        ImageSet(still, images.labels), Corruption([Kind("occlusion", 0.1, 0.1)]), seed=0
    )

    restored = fitted(still[:10].float() / 255)
    assert restored.isfinite().all()
    assert float(restored[:, :, 0, 0].abs().max()) < 1e-4


def test_a_corruption_is_fitted_once(images):
    filters = LinearFilters(images, seed=0)
    first = filters.of(Corruption([Kind("gaussian", 0.2, 0.2)]))

    assert filters.of(Corruption([Kind("gaussian", 0.2, 0.2)])) is first
    assert filters.of(Corruption([Kind("gaussian", 0.2, 0.3)])) is not first
    assert filters.of(Corruption([Kind("gaussian", 0.2, 0.2)], clip=True)) is not first


def test_images_of_many_pixels_have_none():
    large = ImageSet(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.zeros(2))

    assert LinearFilters(large, seed=0).of(Corruption([Kind("blur", 1.0, 1.0)])) is None
