import numpy as np
import pytest
import torch

from latentlab.data.corruption import Corruption, CorruptionSpec
from latentlab.data.image_set import ImageSet
from latentlab.evaluation import baselines
from latentlab.evaluation.baselines import (
    Comparison,
    gaussian_images,
    majority_accuracy,
    reconstruction_baselines,
    restoration_baselines,
)
from latentlab.evaluation.pixel_pca import PixelPca
from latentlab.evaluation.reconstruction import reconstruction_metrics, restoration_metrics
from latentlab.evaluation.wiener import LinearFilters


def make_images(count, seed):
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count, 3, 2, 2)).repeat(3, 2).repeat(3, 3)
    pixels = (128 + 30 * coarse + 5 * random.normal(size=(count, 3, 6, 6))).clip(0, 255)
    labels = torch.zeros(count, dtype=torch.int64)
    return ImageSet(torch.from_numpy(pixels.astype(np.uint8)), labels)


@pytest.fixture
def train():
    return make_images(80, 0)


@pytest.fixture
def validation():
    return make_images(20, 1)


def test_pixel_pca_equals_that_of_scikit_learn(train, validation):
    expected = reconstruction_metrics(PixelPca.fit(train, 4, seed=0), validation)["mse"]

    measured = reconstruction_baselines(train, 4, validation, seed=0)

    assert measured["pixel_pca_mse"] == pytest.approx(expected, rel=1e-3)
    variance = (validation.floats() - train.floats().mean(0)).square().mean()
    assert measured["mean_image_mse"] == pytest.approx(float(variance), rel=1e-5)


def test_more_dimensions_than_images_are_possible(train, validation):
    measured = reconstruction_baselines(train.take(torch.arange(5)), 200, validation, seed=0)

    assert 0 < measured["pixel_pca_mse"] < measured["mean_image_mse"]


def test_baselines_do_not_change_the_random_numbers_of_a_stage(train, validation):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)

    corruption = Corruption([CorruptionSpec("occlusion", 0.2, 0.2)])
    reconstruction_baselines(train, 4, validation, seed=0)
    restoration_baselines(train, corruption, validation, seed=0)
    list(gaussian_images(train, 10, seed=0))

    assert torch.equal(torch.rand(4), expected)


def test_the_wiener_filter_is_that_of_evaluate(train, validation):
    corruption = Corruption([CorruptionSpec("gaussian", 0.3, 0.3)])
    linear = LinearFilters(train, 1).of(corruption)

    measured = restoration_baselines(train, corruption, validation, seed=0)

    expected = restoration_metrics(linear, validation, corruption, 0)["mse"]
    assert measured["wiener_mse"] == expected


def test_images_that_are_too_large_have_no_wiener_filter(train, validation, monkeypatch):
    monkeypatch.setattr("latentlab.evaluation.wiener.MAX_PIXELS", 50)
    corruption = Corruption([CorruptionSpec("gaussian", 0.3, 0.3)])

    assert set(restoration_baselines(train, corruption, validation, seed=0)) == {"mean_image_mse"}


def test_gaussian_images_have_the_mean_and_covariance_of_the_training_images(train):
    real = train.floats().flatten(1).double()

    drawn = torch.cat(list(gaussian_images(train, 20_000, seed=0)))

    assert drawn.shape == (20_000, 3, 6, 6)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) <= 1
    drawn = drawn.flatten(1).double()
    torch.testing.assert_close(drawn.mean(0), real.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), real.T.cov(), atol=0.002, rtol=0.1)


def test_a_large_training_split_is_sampled(train, monkeypatch):
    monkeypatch.setattr(baselines, "FITTED_IMAGES", 30)

    assert len(baselines.fitting_sample(train, seed=0)) == 30
    assert len(baselines.fitting_sample(train, seed=0, values=10 * train.pixels)) == 10


def test_the_majority_class_is_that_of_the_training_labels():
    labels = torch.tensor([0, 1, 1, 2])

    assert majority_accuracy(torch.tensor([2, 2, 1]), labels) == 0.25


def test_a_comparison_knows_which_direction_is_better():
    error = Comparison("validation/mse", 0.045, "pixel PCA", 0.014)
    accuracy = Comparison("validation/accuracy", 0.9, "majority class", 0.1, higher_is_better=True)

    assert error.below
    assert error.text == "validation/mse 0.045 (pixel PCA 0.014)"
    assert not accuracy.below
