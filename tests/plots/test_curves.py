import numpy as np

from latentlab.plots.curves import plot_against_value, plot_history, plot_overlaid, running_mean


def history(epochs, start=0.1):
    return [{"epoch": n, "validation/mse": start / n} for n in range(1, epochs + 1)]


def test_the_running_mean_is_the_mean_of_each_value_and_those_before_it():
    for count in (1, 4, 20):
        values = np.random.default_rng(0).random(count)
        for window in (1, 3, 5, 50):
            expected = [values[max(0, end - window) : end].mean() for end in range(1, count + 1)]
            np.testing.assert_allclose(running_mean(values, window), expected, rtol=1e-12)


def test_a_history_has_a_line_for_each_column_and_marks_the_best_epoch(draw, legend):
    records = [
        {"epoch": 1, "train/loss": 0.5},
        {"epoch": 2, "train/loss": 0.4, "validation/loss": 0.6},
        {"epoch": 3, "train/loss": 0.3, "validation/loss": 0.7},
    ]
    columns = {"train/loss": "training", "validation/loss": "validation"}

    (axes,) = draw(plot_history, records, columns, "MSE", "VAE on digits", best_epoch=2).axes

    assert axes.get_title() == "VAE on digits"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "MSE")
    assert legend(axes) == ["training", "validation", "best: epoch 2"]
    training, validation, best = axes.lines
    assert training.get_xydata().tolist() == [[1, 0.5], [2, 0.4], [3, 0.3]]
    assert validation.get_xydata().tolist() == [[2, 0.6], [3, 0.7]]
    assert set(best.get_xdata()) == {2}
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_a_history_without_a_best_epoch_marks_none(draw, legend):
    columns = {"validation/mse": "validation"}

    (axes,) = draw(plot_history, history(3), columns, "MSE", "DCGAN on digits").axes

    assert legend(axes) == ["validation"]


def test_overlaid_histories_are_faint_lines_with_strong_running_means(draw, legend):
    histories = {f"variant {n}": history(1 + n % 12, 0.1 + n / 100) for n in range(25)}

    (axes,) = draw(plot_overlaid, histories, "validation/mse", "MSE", "Optimizer").axes

    assert axes.get_title() == "Optimizer"
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("epoch", "MSE", "log")
    assert legend(axes) == list(histories)
    assert axes.get_legend().get_title().get_text() == "running mean"
    styles = set()
    for number, records in enumerate(histories.values()):
        faint, strong = axes.lines[2 * number : 2 * number + 2]
        values = [record["validation/mse"] for record in records]
        assert faint.get_ydata().tolist() == values
        assert faint.get_alpha() < 1
        np.testing.assert_array_equal(strong.get_ydata(), running_mean(np.array(values), 3))
        styles.add((strong.get_color(), strong.get_linestyle()))
    assert len(styles) == 25


def test_the_mean_over_seeds_is_drawn_against_the_sorted_values(draw):
    best = {8.0: [0.01], 2.0: [0.02, 0.04], 4.0: [0.02]}

    (axes,) = draw(plot_against_value, best, "latent_dim", "MSE", "Latent dimension").axes

    assert axes.get_title() == "Latent dimension"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("latent_dim", "best MSE")
    *points, line = axes.lines
    assert line.get_xydata().tolist() == [[2, 0.03], [4, 0.02], [8, 0.01]]
    assert [len(each.get_xydata()) for each in points] == [2, 1, 1]
