import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from latentlab.evaluation.generation import class_entropy, frechet_distance


def test_the_frechet_distance_of_shifted_gaussians_is_the_squared_shift():
    features = np.random.default_rng(0).normal(size=(500, 4))

    assert frechet_distance(features, features + 2.0) == pytest.approx(16.0)
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-9)


def test_the_frechet_distance_of_scaled_gaussians_is_the_closed_form():
    """For covariances C and s^2 C the distance is (1 - s)^2 tr C."""
    features = np.random.default_rng(1).normal(size=(400, 3)) @ np.diag([1.0, 2.0, 3.0])
    centred = features - features.mean(0)

    expected = (1 - 3) ** 2 * np.trace(np.cov(centred, rowvar=False))

    assert frechet_distance(centred, 3 * centred) == pytest.approx(expected)


def test_the_frechet_distance_equals_the_one_by_a_matrix_square_root():
    random = np.random.default_rng(2)
    first = random.normal(size=(300, 5)) @ random.normal(size=(5, 5))
    second = random.normal(size=(200, 5)) @ random.normal(size=(5, 5)) + 1
    covariances = [np.cov(values, rowvar=False) for values in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(
        covariances[0] + covariances[1] - 2 * root
    )

    assert frechet_distance(first, second) == pytest.approx(expected)


def test_class_entropy_is_zero_for_one_class_and_log_n_for_all_alike():
    assert class_entropy(torch.eye(10)[[3] * 8]) == pytest.approx(0.0, abs=1e-9)
    assert class_entropy(torch.eye(10)) == pytest.approx(math.log(10))
