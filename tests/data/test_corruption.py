import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from latentlab.data.corruption import Corruption, Kind

GREY = torch.full((2000, 1, 20, 20), 0.5)


def spoil(kind, severity, images=GREY, clip=False, seed=0):
    corruption = Corruption([Kind(kind, severity, severity)], clip)
    return corruption(images, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["gaussian", "occlusion", "salt_and_pepper", "blur"])
def test_the_images_themselves_stay_as_they_are(kind):
    images = torch.rand(4, 3, 12, 12)
    before = images.clone()

    corrupted = spoil(kind, 0.4, images)

    assert torch.equal(images, before)
    assert corrupted.shape == images.shape
    assert not torch.equal(corrupted, images)


@pytest.mark.parametrize("kind", ["gaussian", "occlusion", "salt_and_pepper", "blur"])
def test_nothing_happens_at_severity_zero(kind):
    images = torch.rand(4, 3, 12, 12)

    assert torch.allclose(spoil(kind, 0.0, images), images, atol=1e-6)


@pytest.mark.parametrize("kind", ["gaussian", "occlusion", "salt_and_pepper"])
def test_the_same_seed_spoils_the_same_and_another_does_not(kind):
    assert torch.equal(spoil(kind, 0.3), spoil(kind, 0.3))
    assert not torch.equal(spoil(kind, 0.3), spoil(kind, 0.3, seed=1))


def test_gaussian_noise_has_its_mean_and_standard_deviation():
    noise = spoil("gaussian", 0.3) - GREY

    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.3 / noise.numel() ** 0.5)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01)
    assert float(noise.min()) < -0.9  # beyond what an image can be


def test_clipping_is_only_done_where_it_is_asked_for():
    assert float(spoil("gaussian", 0.5).max()) > 1
    clipped = spoil("gaussian", 0.5, clip=True)
    assert float(clipped.min()) == 0
    assert float(clipped.max()) == 1
    assert torch.equal(clipped, spoil("gaussian", 0.5).clamp(0, 1))


@pytest.mark.parametrize(("share", "side"), [(0.2, 9), (0.25, 10), (0.01, 2), (1.0, 20)])
def test_occlusion_blackens_one_square_anywhere_within_the_image(share, side):
    covered = (spoil("occlusion", share) == 0)[:, 0]

    assert (covered.flatten(1).sum(1) == side**2).all()
    rows, columns = covered.any(2), covered.any(1)
    assert (rows.sum(1) == side).all()
    assert (columns.sum(1) == side).all()
    assert {int(first) for first in rows.int().argmax(1)} == set(range(20 - side + 1))
    assert {int(first) for first in columns.int().argmax(1)} == set(range(20 - side + 1))


def test_salt_and_pepper_replace_their_share_of_the_pixels_half_of_it_each():
    corrupted = spoil("salt_and_pepper", 0.2, GREY.expand(-1, 3, -1, -1))

    assert float((corrupted == 1).float().mean()) == pytest.approx(0.1, rel=0.02)
    assert float((corrupted == 0).float().mean()) == pytest.approx(0.1, rel=0.02)
    assert torch.equal(corrupted[:, 0], corrupted[:, 1])
    assert torch.equal(corrupted[:, 0], corrupted[:, 2])


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_blur_is_a_gaussian_filter_of_what_is_within_the_image(sigma):
    images = torch.rand(3, 2, 15, 15)

    def reference(values):
        for axis in (-1, -2):
            values = gaussian_filter1d(values, sigma, axis, mode="constant", truncate=30)
        return values

    expected = reference(images.double().numpy()) / reference(np.ones(images.shape))
    assert spoil("blur", sigma, images).numpy() == pytest.approx(expected, abs=1e-5)


def test_severities_of_a_range_are_drawn_evenly():
    noise = Corruption([Kind("gaussian", 0.1, 0.5)])(GREY, torch.Generator().manual_seed(0)) - GREY

    deviations = noise.flatten(1).std(1)
    assert 0.08 < float(deviations.min()) < 0.13
    assert 0.47 < float(deviations.max()) < 0.55
    assert float(deviations.mean()) == pytest.approx(0.3, abs=0.01)


def test_a_mixture_gives_each_image_one_kind_by_the_weights():
    mixture = Corruption([Kind("occlusion", 0.25, 0.25, 3.0), Kind("salt_and_pepper", 1.0, 1.0)])
    corrupted = mixture(GREY, torch.Generator().manual_seed(0)).flatten(1)

    squares = ((corrupted == 0).sum(1) == 100) & ((corrupted == 0.5).sum(1) == 300)
    replaced = (corrupted != 0.5).all(1)
    assert (squares ^ replaced).all()
    assert float(squares.float().mean()) == pytest.approx(0.75, abs=0.04)


def test_a_corruption_is_made_again_of_its_configuration():
    mixture = Corruption([Kind("gaussian", 0.1, 0.5, 2.0), Kind("blur", 1.0, 2.0)], clip=True)
    again = Corruption.from_config(mixture.config)

    first, second = (each(GREY, torch.Generator().manual_seed(0)) for each in (mixture, again))
    assert torch.equal(first, second)


def test_the_variance_of_noise_is_that_of_the_noise_that_is_added():
    corruption = Corruption([Kind("gaussian", 0.1, 0.4, 3.0), Kind("gaussian", 0.5, 0.5)])
    grey = torch.full((4000, 1, 8, 8), 0.5)

    noise = corruption(grey, torch.Generator().manual_seed(0)) - grey

    assert corruption.noise_variance == pytest.approx(float(noise.var()), rel=0.03)


@pytest.mark.parametrize(
    ("kinds", "clip"),
    [
        ([Kind("gaussian", 0.1, 0.1)], True),
        ([Kind("gaussian", 0.1, 0.1), Kind("blur", 1.0, 1.0)], False),
        ([Kind("occlusion", 0.1, 0.1)], False),
    ],
)
def test_what_is_not_noise_alone_has_no_variance(kinds, clip):
    assert Corruption(kinds, clip).noise_variance is None


@pytest.mark.parametrize(
    "kinds",
    [
        [Kind("blur", 1.0, 1.0)],
        [Kind("blur", 1.0, 1.5)],
        [Kind("blur", 1.0, 1.0), Kind("blur", 1.5, 1.5)],
        [Kind("gaussian", 0.1, 0.1)],
    ],
)
def test_only_one_blur_repeats_itself(kinds):
    corruption = Corruption(kinds)
    random = torch.Generator().manual_seed(0)
    images = torch.rand(20, 1, 8, 8, generator=random)

    twice = [corruption(images, random) for _ in range(2)]

    assert corruption.repeats_itself == torch.equal(*twice)
