import numpy as np
import pytest
import torch

from latentlab.evaluation.latent.walks import (
    class_centroids,
    linear_interpolation,
    pairs_to_walk,
    smoothness,
    spherical_interpolation,
)

START, END = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])


@pytest.mark.parametrize("walk", [linear_interpolation, spherical_interpolation])
def test_a_walk_begins_and_ends_where_it_should(walk):
    codes = walk(START, END, 7)

    assert codes.shape == (7, 3)
    assert torch.allclose(codes[0], START, atol=1e-5)
    assert torch.allclose(codes[-1], END, atol=1e-5)


def test_a_straight_walk_has_even_steps():
    codes = linear_interpolation(START, END, 7)

    expected = np.linspace(START.numpy(), END.numpy(), 7)
    np.testing.assert_allclose(codes.numpy(), expected, atol=1e-6)


def test_a_spherical_walk_keeps_its_length_and_turns_by_even_angles():
    codes = spherical_interpolation(START, END, 7)

    angles = torch.atan2(codes[:, 1], codes[:, 0])
    assert torch.allclose(codes.norm(dim=1), torch.tensor(3.0))
    assert torch.allclose(angles, torch.linspace(0, torch.pi / 2, 7), atol=1e-5)


@pytest.mark.parametrize("end", [2 * START, START, -START, torch.zeros(3)])
def test_a_spherical_walk_without_an_arc_is_straight(end):
    codes = spherical_interpolation(START, end, 5)

    assert codes.isfinite().all()
    if not end.any():
        return
    assert torch.allclose(codes, linear_interpolation(START, end, 5), atol=1e-5)


def test_centroids_are_the_means_of_the_classes_there_are():
    codes = np.array([[0.0, 1], [2, 3], [9, 9]], np.float32)

    found = class_centroids(codes, np.array([1, 1, 3]), 4)

    np.testing.assert_array_equal(found[[1, 3]], [[1, 2], [9, 9]])
    assert np.isnan(found[[0, 2]]).all()


def test_the_nearest_and_the_farthest_classes_are_walked_between():
    nowhere = [np.nan]

    assert pairs_to_walk(np.array([[0.0], nowhere, [10.0], [11.0]])) == [(2, 3), (0, 3)]
    assert pairs_to_walk(np.array([[0.0], nowhere, [10.0]])) == [(0, 2)]
    assert pairs_to_walk(np.array([[0.0], nowhere])) == []


def test_smoothness_is_the_largest_step_over_the_mean_one():
    levels = torch.tensor([0.0, 0.1, 0.2, 0.6])
    images = levels[:, None, None, None].expand(4, 1, 5, 5)

    assert smoothness(images) == pytest.approx(0.4 / 0.2)
    assert smoothness(torch.linspace(0, 1, 6)[:, None, None, None]) == pytest.approx(1)
    assert smoothness(torch.zeros(3, 1, 2, 2)) == 0
