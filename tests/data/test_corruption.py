import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from latentlab.data.corruption import CORRUPTIONS, Corruption, CorruptionSpec

GRAY = torch.full((2000, 1, 20, 20), 0.5)


def corrupt(name, severity, images=GRAY, clip=False, seed=0):
    corruption = Corruption([CorruptionSpec(name, severity, severity)], clip)
    return corruption(images, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_returns_a_changed_copy_of_the_same_shape(name):
    images = torch.rand(4, 3, 12, 12)
    before = images.clone()

    corrupted = corrupt(name, 0.4, images)

    assert torch.equal(images, before)
    assert corrupted.shape == images.shape
    assert not torch.equal(corrupted, images)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_zero_is_the_identity(name):
    images = torch.rand(4, 3, 12, 12)

    assert torch.allclose(corrupt(name, 0.0, images), images, atol=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "occlusion", "salt_and_pepper"])
def test_random_corruptions_depend_on_the_seed_alone(name):
    assert torch.equal(corrupt(name, 0.3), corrupt(name, 0.3))
    assert not torch.equal(corrupt(name, 0.3), corrupt(name, 0.3, seed=1))


def test_gaussian_noise_has_mean_zero_and_standard_deviation_severity():
    noise = corrupt("gaussian", 0.3) - GRAY

    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.3 / noise.numel() ** 0.5)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01)
    assert float(noise.min()) < -0.9  # not clipped to the range of images


def test_pixels_are_clipped_only_on_request():
    unclipped = corrupt("gaussian", 0.5)
    clipped = corrupt("gaussian", 0.5, clip=True)

    assert float(unclipped.max()) > 1
    assert torch.equal(clipped, unclipped.clamp(0, 1))


@pytest.mark.parametrize(("share", "side"), [(0.2, 9), (0.25, 10), (0.01, 2), (1.0, 20)])
def test_occlusion_blackens_one_square_at_any_position_within_the_image(share, side):
    covered = (corrupt("occlusion", share) == 0)[:, 0]

    assert (covered.flatten(1).sum(1) == side**2).all()
    rows, columns = covered.any(2), covered.any(1)
    assert (rows.sum(1) == side).all()
    assert (columns.sum(1) == side).all()
    assert {int(first) for first in rows.int().argmax(1)} == set(range(20 - side + 1))
    assert {int(first) for first in columns.int().argmax(1)} == set(range(20 - side + 1))


def test_salt_and_pepper_replaces_all_channels_half_by_white_and_half_by_black():
    corrupted = corrupt("salt_and_pepper", 0.2, GRAY.expand(-1, 3, -1, -1))

    assert float((corrupted == 1).float().mean()) == pytest.approx(0.1, rel=0.02)
    assert float((corrupted == 0).float().mean()) == pytest.approx(0.1, rel=0.02)
    assert torch.equal(corrupted[:, 0], corrupted[:, 1])
    assert torch.equal(corrupted[:, 0], corrupted[:, 2])


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_blur_is_a_gaussian_filter_normalized_over_the_pixels_within_the_image(sigma):
    images = torch.rand(3, 2, 15, 15)

    def reference(values):
        for axis in (-1, -2):
            values = gaussian_filter1d(values, sigma, axis, mode="constant", truncate=30)
        return values

    expected = reference(images.double().numpy()) / reference(np.ones(images.shape))
    assert corrupt("blur", sigma, images).numpy() == pytest.approx(expected, abs=1e-5)


def test_severities_are_drawn_uniformly_from_their_range():
    corruption = Corruption([CorruptionSpec("gaussian", 0.1, 0.5)])
    noise = corruption(GRAY, torch.Generator().manual_seed(0)) - GRAY

    deviations = noise.flatten(1).std(1)
    assert 0.08 < float(deviations.min()) < 0.13
    assert 0.47 < float(deviations.max()) < 0.55
    assert float(deviations.mean()) == pytest.approx(0.3, abs=0.01)


def test_a_mixture_applies_one_corruption_per_image_with_probability_by_weight():
    mixture = Corruption(
        [CorruptionSpec("occlusion", 0.25, 0.25, 3.0), CorruptionSpec("salt_and_pepper", 1.0, 1.0)]
    )
    corrupted = mixture(GRAY, torch.Generator().manual_seed(0)).flatten(1)

    occluded = ((corrupted == 0).sum(1) == 100) & ((corrupted == 0.5).sum(1) == 300)
    replaced = (corrupted != 0.5).all(1)
    assert (occluded ^ replaced).all()
    assert float(occluded.float().mean()) == pytest.approx(0.75, abs=0.04)


def test_from_config_restores_a_corruption():
    specs = [CorruptionSpec("gaussian", 0.1, 0.5, 2.0), CorruptionSpec("blur", 1.0, 2.0)]
    mixture = Corruption(specs, clip=True)
    restored = Corruption.from_config(mixture.config)

    first, second = (each(GRAY, torch.Generator().manual_seed(0)) for each in (mixture, restored))
    assert torch.equal(first, second)


def test_noise_variance_is_the_variance_of_the_added_noise():
    corruption = Corruption(
        [CorruptionSpec("gaussian", 0.1, 0.4, 3.0), CorruptionSpec("gaussian", 0.5, 0.5)]
    )
    images = torch.full((4000, 1, 8, 8), 0.5)

    noise = corruption(images, torch.Generator().manual_seed(0)) - images

    assert corruption.noise_variance == pytest.approx(float(noise.var()), rel=0.03)


def test_noise_variance_is_none_unless_the_corruption_is_unclipped_gaussian_noise():
    gaussian, blur = CorruptionSpec("gaussian", 0.1, 0.1), CorruptionSpec("blur", 1.0, 1.0)

    assert Corruption([gaussian], clip=True).noise_variance is None
    assert Corruption([gaussian, blur]).noise_variance is None
    assert Corruption([blur]).noise_variance is None


@pytest.mark.parametrize(
    "specs",
    [
        [CorruptionSpec("blur", 1.0, 1.0)],
        [CorruptionSpec("blur", 1.0, 1.5)],
        [CorruptionSpec("blur", 1.0, 1.0), CorruptionSpec("blur", 1.5, 1.5)],
        [CorruptionSpec("gaussian", 0.1, 0.1)],
    ],
)
def test_only_a_blur_of_fixed_severity_is_deterministic(specs):
    corruption = Corruption(specs)
    random = torch.Generator().manual_seed(0)
    images = torch.rand(20, 1, 8, 8, generator=random)

    first, second = (corruption(images, random) for _ in range(2))

    assert corruption.is_deterministic == torch.equal(first, second)
