import numpy as np
import torch

from latentlab.plots.classification import plot_confusion, plot_errors, plot_label_efficiency

COUNTS = np.array([[8, 2, 0], [1, 299, 0], [0, 0, 0]])
CLASSES = ["bag", "coat", "shirt"]


def cell_texts(figure):
    return {text.get_position(): text.get_text() for text in figure.axes[0].texts}


def test_label_efficiency_is_a_curve_with_error_bars_for_each_method(draw, legend):
    curves = {"frozen": {4: (0.5, 0.1), 64: (0.8, 0.0)}, "from scratch": {4: (0.4, 0.2)}}

    (axes,) = draw(plot_label_efficiency, curves, "Label efficiency on digits").axes

    assert axes.get_title() == "Label efficiency on digits"
    assert axes.get_xlabel() == "labels per class"
    assert axes.get_ylabel() == "validation accuracy"
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "64"]
    assert legend(axes) == ["frozen", "from scratch"]
    assert axes.get_legend().get_title().get_text() == "error bars:\n1 standard deviation"
    for container, points in zip(axes.containers, curves.values(), strict=True):
        line, _, (bars,) = container
        means, deviations = zip(*points.values(), strict=True)
        assert line.get_xydata().tolist() == [[*point] for point in zip(points, means, strict=True)]
        heights = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose(heights, 2 * np.array(deviations))


def test_each_misclassified_image_has_its_caption(draw):
    images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    captions = [f"bag\npredicted: {n}" for n in range(10)]

    figure = draw(plot_errors, images, captions, 8, "Most confident errors")

    assert figure.get_suptitle() == "Most confident errors"
    assert len(figure.axes) == 16
    for axes, image, caption in zip(figure.axes, images, captions, strict=False):
        assert axes.get_title() == caption
        np.testing.assert_allclose(axes.images[0].get_array()[..., 0], image[0])
    assert not any(axes.images for axes in figure.axes[10:])


def test_a_classifier_without_errors_has_an_empty_grid(draw):
    figure = draw(plot_errors, torch.zeros(0, 1, 8, 8), [], 8, "Most confident errors")

    assert figure.get_suptitle() == "Most confident errors"
    assert not any(axes.images for axes in figure.axes)


def test_a_confusion_matrix_shows_the_shares_of_each_actual_class(draw):
    figure = draw(plot_confusion, COUNTS, CLASSES, "Confusion matrix")

    axes, colorbar = figure.axes
    assert axes.get_title() == "Confusion matrix"
    assert axes.get_xlabel() == "predicted class"
    assert axes.get_ylabel() == "actual class"
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == CLASSES
    assert colorbar.get_ylabel() == "share of the actual class"
    shares = [[0.8, 0.2, 0], [1 / 300, 299 / 300, 0], [0, 0, 0]]
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    assert cell_texts(figure) == {(0, 0): "0.80", (1, 0): "0.20", (1, 1): "1.00"}


def test_a_confusion_matrix_of_many_classes_does_not_grow(draw):
    sizes = {}
    for count in (50, 130):
        names = [f"class {number}" for number in range(count)]
        figure = draw(plot_confusion, np.eye(count, dtype=int), names, "Confusion matrix")
        sizes[count] = figure.get_size_inches().tolist()

    assert sizes[130] == sizes[50]
    ticks = figure.axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == names[::3]
    assert not figure.axes[0].texts


def test_a_confusion_matrix_can_show_counts(draw):
    figure = draw(plot_confusion, COUNTS, CLASSES, "Confusion matrix", as_shares=False)

    assert cell_texts(figure) == {(0, 0): "8", (1, 0): "2", (0, 1): "1", (1, 1): "299"}
