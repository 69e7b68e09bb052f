"""The plots of a latent space, and the metrics of its maps."""

import numpy as np
import pytest
import torch

from latentlab.data.image_set import ImageSet
from latentlab.evaluation.latent.maps import latent_axes_map, map_metrics, pca_maps
from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace, ProbeImages
from latentlab.params.schema import EvaluateParams
from latentlab.pipeline import latent


@pytest.fixture
def drawn(monkeypatch):
    """Collect the arguments of all plot functions, by function."""
    calls = {}
    for name in ("plot_latent_grid", "plot_rows", "save_animation"):
        monkeypatch.setattr(latent, name, lambda *args, name=name: calls.update({name: args}))
    for name in ("plot_density_maps", "plot_histograms"):
        monkeypatch.setattr(latent, name, lambda *args, name=name: calls.update({name: args}))
    monkeypatch.setattr(
        latent,
        "plot_latent_map",
        lambda *args, log_density: calls.update(plot_latent_map=args, log_density=log_density),
    )
    return calls


def probe_of(codes, labels=None, classes=("a", "b")):
    """Return a probe with the given codes; decoding fills an image with the first coordinate."""
    labels = torch.zeros(len(codes), dtype=torch.int64) if labels is None else labels
    images = ImageSet(torch.zeros(len(codes), 1, 2, 2, dtype=torch.uint8), labels)
    space = LatentSpace(
        "Space",
        lambda images: torch.from_numpy(codes),
        lambda codes: codes[:, :1, None, None].repeat(1, 1, 2, 2),
    )
    return EncodedProbe(space, ProbeImages(images, images, [*classes], "test", 1000, 0))


def normal_codes(count, center, deviations):
    size = (count, len(deviations))
    return np.random.default_rng(0).normal(center, deviations, size).astype(np.float32)


def test_the_latent_grid_covers_the_codes_with_coordinates_up_and_to_the_right(drawn, tmp_path):
    codes = normal_codes(400, (3, -5), (2, 0.5))

    latent.plot_density(probe_of(codes), tmp_path / "space")

    target, images, x_values, y_values, axis_names, title = drawn["plot_latent_grid"]
    assert target == tmp_path / "space_latent_grid.png"
    assert title == "Space: decoded latent grid"
    assert axis_names == ["latent dimension 1", "latent dimension 2"]
    low, high = np.percentile(codes, latent.GRID_PERCENTILES, axis=0)
    np.testing.assert_allclose((x_values[0], y_values[0]), low, rtol=1e-5)
    np.testing.assert_allclose((x_values[-1], y_values[-1]), high, rtol=1e-5)
    first_coordinate = images[:, 0, 0, 0].reshape(latent.GRID_SIZE, latent.GRID_SIZE)
    expected = np.tile(x_values, (latent.GRID_SIZE, 1))
    np.testing.assert_allclose(first_coordinate, expected, rtol=1e-4)


def test_the_density_of_longer_codes_is_drawn_along_principal_components(drawn, tmp_path):
    metrics = latent.plot_density(probe_of(normal_codes(400, 0, (1, 5, 2))), tmp_path / "space")

    _, points, axis_names, title = drawn["plot_density_maps"]
    assert axis_names == ["principal component 1", "principal component 2"]
    assert title.startswith("Space: kernel density of 400 training codes, bandwidth ")
    for values in points.values():
        np.testing.assert_allclose(values.std(0), [5, 2], rtol=0.2)
    assert metrics["kde_bandwidth"] > 0


def test_samples_of_long_codes_are_drawn_in_three_ways(drawn, tmp_path):
    latent.plot_density(probe_of(normal_codes(400, 0, (1, 5, 2))), tmp_path / "space")

    target, rows, _ = drawn["plot_rows"]
    assert target == tmp_path / "space_samples.png"
    ways = ("uniform", "PCA plane", "density")
    assert list(rows) == [f"{way} {number}" for way in ways for number in (1, 2, 3)]
    assert all(images.shape == (latent.SAMPLES_PER_ROW, 1, 2, 2) for images in rows.values())


def test_the_density_of_one_dimension_is_drawn_as_histograms(drawn, tmp_path):
    codes = normal_codes(400, 3, (0.5,))

    latent.plot_density(probe_of(codes), tmp_path / "space")

    target, values, axis_name, _ = drawn["plot_histograms"]
    assert target == tmp_path / "space_kde.png"
    assert axis_name == "latent dimension 1"
    np.testing.assert_allclose(values["Encoded images"], codes[:, 0])
    np.testing.assert_allclose(values["Density samples"].mean(), 3, atol=0.15)
    np.testing.assert_allclose(values["Density samples"].std(), 0.5, atol=0.15)
    assert "plot_latent_grid" not in drawn


def test_maps_name_the_space_and_the_sample_of_images(drawn, tmp_path):
    codes = normal_codes(60, 0, (1, 1))

    latent.plot_maps(probe_of(codes), {}, tmp_path / "space")

    target, points, _, classes, axis_names, title = drawn["plot_latent_map"]
    assert target == tmp_path / "space_pca_3d.png"
    assert title == "Space, 2 latent dimensions\nPCA of 60 of 1,000 test images"
    assert points.shape == (60, 3)
    assert classes == ["a", "b"]
    assert axis_names[0].startswith("PC 1 (")
    assert drawn["log_density"] is None


def test_maps_have_an_explained_variance_and_a_trustworthiness():
    codes = normal_codes(200, 0, (4, 2, 1, 0.1))
    probe = probe_of(codes)

    metrics = map_metrics(probe, pca_maps(probe))

    variances = np.linalg.eigvalsh(np.cov(codes, rowvar=False))[::-1]
    expected = {f"pca_{d}d": variances[:d].sum() / variances.sum() for d in (2, 3)}
    assert metrics["explained_variance"] == pytest.approx(expected, rel=1e-5)
    assert metrics["trustworthiness"]["pca_3d"] > metrics["trustworthiness"]["pca_2d"] > 0.8


def test_codes_of_two_dimensions_have_a_map_along_their_own_axes():
    codes = normal_codes(20, 0, (1, 1, 1, 1))

    assert latent_axes_map(probe_of(codes)) == {}
    axes = latent_axes_map(probe_of(codes[:, :2]))["latent"].axes
    assert axes == ["latent dimension 1", "latent dimension 2"]


def test_interpolations_connect_the_centroids_of_the_chosen_classes(drawn, tmp_path):
    codes = np.array([[0, 1], [0, 1], [4, 1], [6, 1]], np.float32)
    probe = probe_of(codes, torch.tensor([0, 0, 1, 1]))
    settings = EvaluateParams.model_construct(walks=(("b", "a"),), walk_steps=6)

    metrics = latent.interpolate(probe, settings, tmp_path / "space")

    assert list(metrics) == ["b_to_a"]
    assert metrics["b_to_a"]["linear_smoothness"] == pytest.approx(1)
    target, rows, title = drawn["plot_rows"]
    assert target == tmp_path / "space_b_to_a.png"
    assert title == "Space: interpolation from b to a"
    np.testing.assert_allclose(rows["linear"][:, 0, 0, 0], [5, 4, 3, 2, 1, 0], atol=1e-6)
    _, frames = drawn["save_animation"]
    assert len(frames) == 6 + 4  # forward and back, without repeating the ends


@pytest.fixture
def unlabeled():
    """A probe of codes in four separate groups without classes; the first group is the largest."""
    centers = np.array([[0, 0], [1, 0], [20, 0], [0, 9]], np.float32)
    noise = np.random.default_rng(0).normal(scale=0.02, size=(100, 2))
    codes = (centers.repeat([40, 30, 20, 10], axis=0) + noise).astype(np.float32)
    return probe_of(codes, classes=())


def test_without_classes_interpolations_connect_cluster_medoids(drawn, unlabeled, tmp_path):
    settings = EvaluateParams.model_construct(walks="auto", walk_steps=6)

    metrics = latent.interpolate(unlabeled, settings, tmp_path / "space")

    assert list(metrics) == ["cluster 1_to_cluster 2", "cluster 3_to_cluster 4"]
    _, rows, title = drawn["plot_rows"]
    assert title == "Space: interpolation from cluster 3 to cluster 4"
    assert rows["linear"][0, 0, 0, 0] in unlabeled.codes[70:90, 0]


def test_without_classes_maps_show_clusters_and_the_density(drawn, unlabeled, tmp_path):
    latent.plot_maps(unlabeled, {}, tmp_path / "space")

    _, _, labels, names, *_ = drawn["plot_latent_map"]
    assert names == ["cluster 1", "cluster 2", "cluster 3", "cluster 4"]
    assert np.bincount(labels).tolist() == [40, 30, 20, 10]
    assert len(drawn["log_density"]) == 100


def test_without_classes_the_clusters_are_measured(unlabeled):
    metrics = latent.code_metrics(unlabeled)

    assert metrics["clusters"] == 4
    assert metrics["cluster_silhouette"] > 0.9
    assert set(metrics) == {"clusters", "cluster_silhouette", "collapsed_share"}
