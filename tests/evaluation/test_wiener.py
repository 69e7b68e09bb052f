import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from latentlab.data.corruption import Corruption, Kind, blur
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.reconstruction import corrupted_batches, restoration_metrics
from latentlab.evaluation.wiener import RIDGE, LinearFilters


@pytest.fixture(scope="module")
def images():
    """Smooth images of 6 by 6 pixels: neighbors say much of each other."""
    random = np.random.default_rng(0)
    coarse = random.normal(size=(4000, 1, 3, 3)).repeat(2, 2).repeat(2, 3)
    pixels = 128 + 35 * (coarse + 0.2 * random.normal(size=(4000, 1, 6, 6)))
    return ImageSet(
        torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), torch.zeros(4000, dtype=torch.int64)
    )


@pytest.mark.parametrize("kind", ["occlusion", "salt_and_pepper"])
def test_it_is_the_linear_regression_of_clean_on_spoilt_images(images, kind):
    corruption = Corruption([Kind(kind, 0.2, 0.2)])
    pairs = list(corrupted_batches(images, corruption, seed=0))
    clean, corrupted = (torch.cat(parts).flatten(1).numpy() for parts in zip(*pairs, strict=True))

    filtered = LinearFilters(images, seed=0).of(corruption)(torch.from_numpy(corrupted))

    expected = LinearRegression().fit(corrupted, clean).predict(corrupted)
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
    pairs = list(corrupted_batches(images, corruption, seed=0))
    x, y = (torch.cat(parts).flatten(1).double().numpy() for parts in zip(*pairs, strict=True))
    covariance = np.cov(y, rowvar=False, bias=True)
    ridge = RIDGE * covariance.diagonal().mean() * np.eye(256)
    both = (y - y.mean(0)).T @ (x - x.mean(0)) / len(x)
    expected = (y - y.mean(0)) @ np.linalg.solve(covariance + ridge, both) + x.mean(0)

    found = restoration_metrics(LinearFilters(images, seed=0).of(corruption), images, corruption, 0)

    assert found["mse"] == pytest.approx(np.square(expected - x).mean(), rel=0.05)


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.3), (0.05, 0.55)])
def test_for_gaussian_noise_it_is_the_filter_of_the_textbook(images, low, high):
    """E[x] + S (S + E[sigma^2] I)^-1 (y - E[x]), with S the covariance of clean images."""
    corruption = Corruption([Kind("gaussian", low, high)])
    variance = np.square(np.linspace(low, high, 100_001)).mean()
    clean = images.floats().flatten(1).double().numpy()
    covariance = np.cov(clean, rowvar=False, bias=True)
    weights = np.linalg.solve(covariance + variance * np.eye(36), covariance)
    corrupted = torch.cat([s for _, s in corrupted_batches(images, corruption, seed=1)])
    expected = clean.mean(0) + (corrupted.flatten(1).double().numpy() - clean.mean(0)) @ weights

    restored = LinearFilters(images, seed=0).of(corruption)(corrupted)

    assert restored.shape == corrupted.shape
    assert restored.flatten(1).numpy() == pytest.approx(expected, abs=1e-4)


def test_what_noise_makes_of_few_images_is_known_and_what_clipped_noise_makes_is_learnt(images):
    """Clipping hardly touches weak noise: both come to the same."""
    grey = ImageSet(images.images // 2 + 64, images.labels)
    made = [
        LinearFilters(grey, seed=0).of(Corruption([Kind("gaussian", 0.05, 0.05)], clip))
        for clip in (False, True)
    ]

    known, learnt = (each(grey.floats()) for each in made)

    assert learnt.numpy() == pytest.approx(known.numpy(), abs=0.01)


def test_few_images_are_spoilt_often_enough_not_to_learn_their_noise(images):
    """Of what stays with probability q, else is 0 or 1: Cov(x, y) = q S, and Cov(y) = q^2 S
    beside its diagonal, E[y^2] - E[y]^2."""
    few = images.take(torch.arange(80))  # a filter of each pixel by 36, from 80 of them
    stays = 0.7
    corruption = Corruption([Kind("salt_and_pepper", 1 - stays, 1 - stays)])
    clean = few.floats().flatten(1).double().numpy()
    covariance = np.cov(clean, rowvar=False, bias=True)
    white = (1 - stays) / 2
    mean = stays * clean.mean(0) + white
    of_spoilt = stays**2 * covariance
    np.fill_diagonal(of_spoilt, stays * np.square(clean).mean(0) + white - mean**2)
    weights = np.linalg.solve(of_spoilt, stays * covariance)
    unseen = images.take(torch.arange(2000, 4000))
    corrupted = [s.flatten(1).double().numpy() for _, s in corrupted_batches(unseen, corruption, 9)]
    expected = clean.mean(0) + (np.concatenate(corrupted) - mean) @ weights
    error = np.square(expected - unseen.floats().flatten(1).double().numpy()).mean()

    fitted = LinearFilters(few, seed=0).of(corruption)

    assert restoration_metrics(fitted, unseen, corruption, 9)["mse"] < 1.15 * error


def test_a_pixel_that_never_varies_is_no_fault(images):
    still = images.images.clone()
    still[:, :, 0, 0] = 0
    filters = LinearFilters(ImageSet(still, images.labels), seed=0)
    fitted = filters.of(Corruption([Kind("occlusion", 0.1, 0.1)]))

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
