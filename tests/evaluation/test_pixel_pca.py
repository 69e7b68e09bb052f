import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from latentlab.data.image_set import ImageSet
from latentlab.evaluation import pixel_pca
from latentlab.evaluation.pixel_pca import PixelPca


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    coarse = random.normal(size=(80, 3, 2, 2)).repeat(3, 2).repeat(3, 3)
    pixels = (128 + 30 * coarse + 5 * random.normal(size=(80, 3, 6, 6))).clip(0, 255)
    return ImageSet(torch.from_numpy(pixels.astype(np.uint8)), torch.zeros(80, dtype=torch.int64))


@pytest.mark.parametrize("max_pixels", [4096, 10], ids=["exact", "randomized"])
def test_pixel_pca_equals_the_pca_of_scikit_learn(images, max_pixels, monkeypatch):
    monkeypatch.setattr(pixel_pca, "MAX_PIXELS", max_pixels)
    fitted = PixelPca.fit(images, 4, seed=0)
    pixels = images.floats().flatten(1).numpy()
    reference = PCA(4, svd_solver="full").fit(pixels)

    codes = fitted.encode(images.floats())
    expected = reference.transform(pixels)
    np.testing.assert_allclose(np.abs(codes.numpy()), np.abs(expected), atol=2e-3)
    restored = reference.inverse_transform(expected)
    np.testing.assert_allclose(fitted(images.floats()).flatten(1).numpy(), restored, atol=1e-3)


def test_more_dimensions_than_pixels_reconstruct_the_images(images):
    fitted = PixelPca.fit(images, 1000, seed=0)

    assert torch.allclose(fitted(images.floats()), images.floats(), atol=1e-3)
