import numpy as np
import pytest

from latentlab.plots.maps import plot_density_maps, plot_histograms, plot_latent_map, plot_panels

LABELS = np.arange(60) % 12
CLASSES = [f"class {number}" for number in range(13)]  # class 12 has no images
POINTS = np.random.default_rng(0).normal(size=(60, 3))
AXES = ["first", "second", "third"]


def scattered(axes):
    """The points of each class; matplotlib keeps three coordinates in `_offsets3d`."""
    return [
        np.stack(getattr(c, "_offsets3d", None) or c.get_offsets().T, 1) for c in axes.collections
    ]


def coordinates(line):
    return line.get_data_3d() if hasattr(line, "get_data_3d") else line.get_data()


def test_a_map_shows_the_points_of_each_class_in_two_or_three_dimensions(draw, legend):
    for dimensions in (2, 3):
        points = POINTS[:, :dimensions]
        figure = draw(plot_latent_map, points, LABELS, CLASSES, AXES, "PCA")

        (axes,) = figure.axes
        assert axes.get_title() == "PCA"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("first", "second")
        if dimensions == 3:
            assert axes.get_zlabel() == "third"
        assert legend(figure) == CLASSES
        for index, of_class in enumerate(scattered(axes)):
            np.testing.assert_allclose(of_class, points[index == LABELS])
        colors = [tuple(c.get_facecolor()[0]) for c in axes.collections[:10]]
        assert len(set(colors)) == 10


def test_a_second_map_shows_the_density_with_the_densest_points_on_top(draw, legend):
    log_density = np.random.default_rng(1).normal(size=60)
    for points in (POINTS[:, :2], POINTS):
        figure = draw(
            plot_latent_map, points, LABELS, CLASSES, AXES, "PCA", log_density=log_density
        )

        clusters, density, colorbar = figure.axes
        assert figure.get_suptitle() == "PCA"
        assert legend(figure) == CLASSES
        assert len(clusters.collections) == len(CLASSES)
        (drawn,) = scattered(density)
        np.testing.assert_allclose(drawn, points[np.argsort(log_density)])
        assert colorbar.get_ylabel() == "log-density of the latent code (nats)"
        assert (density.get_xlabel(), density.get_ylabel()) == ("first", "second")


def test_the_prior_is_drawn_as_circles_at_one_two_and_three_standard_deviations(draw, legend):
    for points in (POINTS[:, :2], POINTS):
        figure = draw(plot_latent_map, points, LABELS, CLASSES, AXES, "VAE", prior=True)

        (axes,) = figure.axes
        assert legend(figure) == [*CLASSES, "prior: 1, 2, 3\nstandard deviations"]
        radii = [np.hypot(*coordinates(line)[:2]) for line in axes.lines]
        np.testing.assert_allclose(np.stack(radii), [[1] * 100, [2] * 100, [3] * 100])


def test_each_map_has_a_panel_with_its_title_and_axes(draw, legend):
    maps = {f"{n} dimensions": (POINTS[:, :2] * n, "t-SNE") for n in range(1, 8)}

    figure = draw(plot_panels, maps, LABELS, CLASSES, "Latent codes")

    assert figure.get_suptitle() == "Latent codes"
    assert legend(figure) == CLASSES
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == list(maps)
    for axes, (points, _) in zip(panels, maps.values(), strict=True):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("t-SNE 1", "t-SNE 2")
        np.testing.assert_allclose(scattered(axes)[3], points[LABELS == 3])


def test_density_maps_show_the_share_of_points_in_each_cell_on_common_axes(draw):
    sets = {"Encoded images": POINTS[:, :2], "Density samples": POINTS[:9, 1:]}

    figure = draw(plot_density_maps, sets, AXES, "Density")

    *panels, colorbar = figure.axes
    assert figure.get_suptitle() == "Density"
    titles = ["Encoded images (60 points)", "Density samples (9 points)"]
    assert [axes.get_title() for axes in panels] == titles
    assert [axes.get_xlabel() for axes in panels] == ["first", "first"]
    assert panels[0].get_ylabel() == "second"
    assert colorbar.get_ylabel() == "share of the points per cell"
    limits = [axes.images[0].get_extent() for axes in panels]
    assert limits[0] == limits[1]
    for axes, points in zip(panels, sets.values(), strict=True):
        inside = (points >= limits[0][::2]) & (points <= limits[0][1::2])
        expected = inside.all(1).mean()
        assert axes.images[0].get_array().sum() == pytest.approx(expected)


def test_histograms_of_one_dimension_share_their_cells(draw, legend):
    sets = {"Encoded images": POINTS[:, 0], "Density samples": POINTS[:9, 1]}

    figure = draw(plot_histograms, sets, "latent dimension 1", "Density")

    (axes,) = figure.axes
    assert figure.get_suptitle() == "Density"
    assert axes.get_xlabel() == "latent dimension 1"
    assert axes.get_ylabel() == "share of the points per cell"
    assert legend(figure) == ["Encoded images (60 points)", "Density samples (9 points)"]
    outlines = {}
    for patch in axes.patches:
        x, y = patch.get_xy().T
        outlines[patch.get_label()] = x
        assert y[1::2].sum() == pytest.approx(1)
    first, second = outlines.values()
    np.testing.assert_array_equal(first, second)
