import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from latentlab.data.corruption import Corruption, Kind
from latentlab.data.image_set import ImageSet
from latentlab.evaluation.restoration import restoration_metrics, spoilt_batches
from latentlab.evaluation.wiener import LinearFilter


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


def test_a_pixel_that_never_varies_is_no_fault(images):
    still = images.images.clone()
    still[:, :, 0, 0] = 0
    fitted = LinearFilter.fit(
        ImageSet(still, images.labels), Corruption([Kind("occlusion", 0.1, 0.1)]), seed=0
    )

    restored = fitted(still[:10].float() / 255)
    assert restored.isfinite().all()
    assert float(restored[:, :, 0, 0].abs().max()) < 1e-4
