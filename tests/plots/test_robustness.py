from latentlab.plots.robustness import CORRUPTIONS, plot_robustness

CURVES = {
    severity: {
        "identity": {"mse": severity, "accuracy": 0.5 - severity},
        "wiener": {"mse": severity / 10, "accuracy": 0.9},
        "unet": {"mse": severity / 5, "accuracy": 0.8},
    }
    for severity in (0.5, 0.1)
}


def test_error_and_accuracy_of_every_method_are_drawn_against_the_severity(draw, legend):
    figure = draw(plot_robustness, "gaussian", CURVES)

    mse, accuracy = figure.axes
    assert figure.get_suptitle() == "Robustness to Gaussian noise"
    for axes in (mse, accuracy):
        assert axes.get_xlabel() == "standard deviation of the noise (pixels in [0, 1])"
    assert mse.get_ylabel() == "MSE per pixel to the clean image"
    assert accuracy.get_ylabel() == "accuracy of the classifier"
    assert mse.get_yscale() == "log"
    assert legend(accuracy) == ["corrupted input", "Wiener filter", "denoiser: unet"]
    for axes, metric in ((mse, "mse"), (accuracy, "accuracy")):
        for line, method in zip(axes.lines, CURVES[0.5], strict=True):
            expected = [[severity, CURVES[severity][method][metric]] for severity in (0.1, 0.5)]
            assert line.get_xydata().tolist() == expected


def test_without_a_classifier_only_the_error_is_drawn(draw):
    errors = {0.1: {"identity": {"mse": 0.1}}, 0.5: {"identity": {"mse": 0.5}}}

    (mse,) = draw(plot_robustness, "gaussian", errors).axes

    assert mse.lines[0].get_xydata().tolist() == [[0.1, 0.1], [0.5, 0.5]]


def test_an_error_close_to_zero_does_not_stretch_the_axis(draw):
    exact = {0.5: {"wiener": {"mse": 1e-9, "accuracy": 1.0}, "identity": CURVES[0.5]["identity"]}}

    mse, _ = draw(plot_robustness, "blur", exact).axes

    assert mse.get_ylim()[0] == 1e-4


def test_every_corruption_has_a_title_and_a_unit():
    from latentlab.data.corruption import CORRUPTIONS as KNOWN

    assert set(CORRUPTIONS) == set(KNOWN)
