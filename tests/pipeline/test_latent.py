"""What the pictures of a latent space are made of."""

import numpy as np
import torch

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.latent.maps import map_metrics, own_axes, principal_components
from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace, ProbeImages
from latentlab.pipeline import latent as examine


def view_of(codes):
    """A space whose images are their codes, four pixels each, and in which codes are as given."""
    images = ImageSet(torch.zeros(len(codes), 1, 2, 2, dtype=torch.uint8), torch.zeros(len(codes)))
    given = torch.from_numpy(codes)
    space = LatentSpace(
        "space", lambda images: given, lambda codes: codes[:, :1, None, None].repeat(1, 1, 2, 2)
    )
    return EncodedProbe(space, ProbeImages(images, images, ["one"], "test", len(codes), 0))


def test_the_plane_has_the_coordinates_of_the_codes_up_and_to_the_right(monkeypatch, tmp_path):
    codes = np.random.default_rng(0).normal((3, -5), (2, 0.5), (400, 2)).astype(np.float32)
    drawn = {}
    monkeypatch.setattr(examine, "plot_plane", lambda *given: drawn.update(given=given))

    examine.draw_density(view_of(codes), tmp_path / "space")

    _, images, across, up, names, _ = drawn["given"]
    low, high = np.percentile(codes, examine.MIDDLE, axis=0)
    np.testing.assert_allclose((across[0], up[0]), low, rtol=1e-5)
    np.testing.assert_allclose((across[-1], up[-1]), high, rtol=1e-5)
    rows = images[:, 0, 0, 0].reshape(examine.GRID, examine.GRID)  # the first coordinate
    np.testing.assert_allclose(rows, np.tile(across, (examine.GRID, 1)), rtol=1e-4)
    assert names == ["code 1", "code 2"]


def test_the_density_of_one_dimension_is_drawn_beside_the_codes(monkeypatch, tmp_path):
    codes = np.random.default_rng(0).normal(3, 0.5, (400, 1)).astype(np.float32)
    drawn = {}
    monkeypatch.setattr(examine, "plot_histograms", lambda *given: drawn.update(given=given))

    examine.draw_density(view_of(codes), tmp_path / "space")

    target, sets, _, _ = drawn["given"]
    assert target == tmp_path / "space_kde.png"
    np.testing.assert_allclose(sets["encoded"], codes[:, 0])
    np.testing.assert_allclose(sets["sampled"].mean(), 3, atol=0.15)
    np.testing.assert_allclose(sets["sampled"].std(), 0.5, atol=0.15)


def test_maps_say_what_they_explain_and_how_far_they_can_be_trusted():
    codes = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32) * (4, 2, 1, 0.1)
    view = view_of(codes.astype(np.float32))

    found = map_metrics(view, principal_components(view))

    variances = np.linalg.eigvalsh(np.cov(codes, rowvar=False))[::-1]
    expected = {f"pca_{d}d": variances[:d].sum() / variances.sum() for d in (2, 3)}
    for name, share in expected.items():
        np.testing.assert_allclose(found["explained_variance"][name], share, rtol=1e-5)
    assert found["trustworthiness"]["pca_3d"] > found["trustworthiness"]["pca_2d"] > 0.8
    assert own_axes(view) == {}
    assert own_axes(view_of(codes[:, :2].astype(np.float32)))["latent"].axes == ["code 1", "code 2"]
