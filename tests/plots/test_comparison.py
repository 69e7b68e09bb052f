import numpy as np
import pytest
from PIL import Image

from latentlab.plots.curves import plot_against_value, plot_overlaid, running_mean


@pytest.mark.parametrize("window", [1, 3, 5, 50])
@pytest.mark.parametrize("count", [1, 4, 20])
def test_the_running_mean_is_that_of_each_value_and_those_before_it(count, window):
    values = np.random.default_rng(0).random(count)
    expected = [values[max(0, end - window) : end].mean() for end in range(1, count + 1)]

    np.testing.assert_allclose(running_mean(values, window), expected, rtol=1e-12)


def test_a_window_of_one_changes_nothing_and_a_constant_stays():
    values = np.random.default_rng(0).random(9)

    np.testing.assert_allclose(running_mean(values, 1), values, rtol=1e-12)
    np.testing.assert_allclose(running_mean(np.full(9, 0.3), 4), np.full(9, 0.3))


def history(epochs, start=0.1):
    return [{"epoch": n, "validation/mse": start / n} for n in range(1, epochs + 1)]


@pytest.mark.parametrize("count", [1, 3, 25])
def test_curves_of_different_lengths_are_drawn(tmp_path, count):
    target = tmp_path / "curves.png"
    histories = {f"variant {n}": history(1 + n % 12, 0.1 + n / 100) for n in range(count)}

    plot_overlaid(target, histories, "validation/mse", "MSE", "a title")

    with Image.open(target) as picture:
        picture.verify()
        assert picture.format == "PNG"


def test_the_best_is_drawn_against_the_value(tmp_path):
    target = tmp_path / "values.png"

    plot_against_value(target, {8.0: 0.01, 2.0: 0.03, 4.0: 0.02}, "latent_dim", "MSE", "a title")

    with Image.open(target) as picture:
        picture.verify()
        assert picture.format == "PNG"


def test_the_same_curves_give_the_same_bytes(tmp_path):
    for name in ("one.png", "two.png"):
        plot_overlaid(tmp_path / name, {"a": history(5)}, "validation/mse", "MSE", "a title")

    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
