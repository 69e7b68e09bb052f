import numpy as np
import pytest
import torch

from latentlab.evaluation.latent.interpolation import (
    class_centroids,
    linear_interpolation,
    nearest_and_farthest,
    smoothness,
    spherical_interpolation,
)

START, END = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])


def test_an_interpolation_includes_both_ends():
    for interpolate in (linear_interpolation, spherical_interpolation):
        codes = interpolate(START, END, 7)

        assert codes.shape == (7, 3)
        assert torch.allclose(codes[0], START, atol=1e-5)
        assert torch.allclose(codes[-1], END, atol=1e-5)


def test_a_linear_interpolation_has_equal_steps():
    codes = linear_interpolation(START, END, 7)

    expected = np.linspace(START.numpy(), END.numpy(), 7)
    np.testing.assert_allclose(codes.numpy(), expected, atol=1e-6)


def test_a_spherical_interpolation_keeps_the_length_and_has_equal_angles():
    codes = spherical_interpolation(START, END, 7)

    angles = torch.atan2(codes[:, 1], codes[:, 0])
    assert torch.allclose(codes.norm(dim=1), torch.tensor(3.0))
    assert torch.allclose(angles, torch.linspace(0, torch.pi / 2, 7), atol=1e-5)


def test_a_spherical_interpolation_between_parallel_codes_is_linear():
    for end in (2 * START, START, -START):
        codes = spherical_interpolation(START, end, 5)

        assert torch.allclose(codes, linear_interpolation(START, end, 5), atol=1e-5)


def test_a_spherical_interpolation_to_the_origin_is_finite():
    assert spherical_interpolation(START, torch.zeros(3), 5).isfinite().all()


def test_centroids_are_the_means_of_each_class_and_nan_for_missing_classes():
    codes = np.array([[0.0, 1], [2, 3], [9, 9]], np.float32)

    centroids = class_centroids(codes, np.array([1, 1, 3]), 4)

    np.testing.assert_array_equal(centroids[[1, 3]], [[1, 2], [9, 9]])
    assert np.isnan(centroids[[0, 2]]).all()


def test_the_nearest_and_the_farthest_pair_of_classes_are_chosen():
    missing = [np.nan]

    assert nearest_and_farthest(np.array([[0.0], missing, [10.0], [11.0]])) == [
        (2, 3),
        (0, 3),
    ]
    assert nearest_and_farthest(np.array([[0.0], missing, [10.0]])) == [(0, 2)]
    assert nearest_and_farthest(np.array([[0.0], missing])) == []


def test_smoothness_is_the_largest_step_divided_by_the_mean_step():
    levels = torch.tensor([0.0, 0.1, 0.2, 0.6])
    images = levels[:, None, None, None].expand(4, 1, 5, 5)

    assert smoothness(images) == pytest.approx(0.4 / 0.2)
    assert smoothness(torch.linspace(0, 1, 6)[:, None, None, None]) == pytest.approx(1)
    assert smoothness(torch.zeros(3, 1, 2, 2)) == 0
