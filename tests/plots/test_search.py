"""The plots of a study show all of its trials."""

import json

import numpy as np
import pytest

from latentlab.plots import search as module
from latentlab.plots.search import (
    STYLES,
    plot_importances,
    plot_learning_curves,
    plot_parallel_coordinates,
    plot_pareto_front,
    plot_slices,
    plot_trials,
)
from latentlab.search.trial import COMPLETE, FAILED, PRUNED, Trial
from latentlab.training.jobs import Outcome

CHANNELS, DECAY, HIDDEN = "train.model.channels", "train.weight_decay", "train.model.hidden"


def trial(number, state, curve, params, *more_results):
    history = [{"epoch": epoch, "validation/mse": mse} for epoch, mse in enumerate(curve, 1)]
    outcome = Outcome("", history, len(curve), 10, 0.0, 0.0, None)
    params = {name: json.dumps(v) if name == CHANNELS else v for name, v in params.items()}
    return Trial(number, {}, params, state, "", [*curve[-1:], *more_results], [outcome])


@pytest.fixture
def trials():
    """Four trials in three states; `hidden` applies to two of them, and the last one failed."""
    return [
        trial(0, COMPLETE, [0.5, 0.3, 0.2], {CHANNELS: [8, 4], DECAY: 1e-6, HIDDEN: 4}),
        trial(1, PRUNED, [0.6], {CHANNELS: [8], DECAY: 1e-5}),
        trial(2, COMPLETE, [0.4, 0.2, 0.1], {CHANNELS: [8], DECAY: 1e-4, HIDDEN: 8}),
        trial(3, FAILED, [], {CHANNELS: [8], DECAY: 1e-3}),
    ]


@pytest.fixture
def saved(monkeypatch, tmp_path):
    """Call a plot function; return the figure that it saves."""
    figures = []
    monkeypatch.setattr(module, "save", lambda figure, target: figures.append((figure, target)))

    def call(plot, *arguments):
        plot(tmp_path / "plot.png", *arguments)
        figure, target = figures.pop()
        assert target == tmp_path / "plot.png"
        figure.canvas.draw()  # all texts can be laid out
        return figure

    return call


def points(collection):
    return np.ma.getdata(collection.get_offsets()).tolist()


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_the_results_of_trials_are_plotted_with_the_best_so_far(saved, trials):
    figure = saved(plot_trials, trials, "validation/mse", [trials[0], trials[0], trials[2], None])

    (axes,) = figure.axes
    assert axes.get_title() == "Results of all trials"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trial", "validation MSE")
    assert axes.get_yscale() == "log"
    assert texts(axes.get_legend()) == ["complete", "pruned", "best so far"]
    assert [points(each) for each in axes.collections] == [[[0, 0.2], [2, 0.1]], [[1, 0.6]]]
    (best,) = axes.lines
    assert best.get_ydata()[:3].tolist() == [0.2, 0.2, 0.1]
    assert np.isnan(best.get_ydata()[3])
    assert all(tick == int(tick) for tick in axes.get_xticks())


def test_learning_curves_mark_the_best_trial_and_where_trials_were_pruned(saved, trials):
    figure = saved(plot_learning_curves, trials, "validation/mse", trials[2])

    (axes,) = figure.axes
    assert axes.get_title() == "Learning curves of all trials"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "validation MSE")
    assert texts(axes.get_legend()) == ["best: trial 2", "complete", "pruned"]
    curves = [[*map(list, line.get_data())] for line in axes.lines if len(line.get_xdata())]
    assert curves == [
        [[1, 2, 3], [0.5, 0.3, 0.2]],
        [[1], [0.6]],
        [[1], [0.6]],  # the cross
        [[1, 2, 3], [0.4, 0.2, 0.1]],
    ]
    assert axes.lines[2].get_marker() == "x"


def test_importances_are_bars_in_descending_order(saved):
    shares = {DECAY: 0.75, HIDDEN: 0.25, CHANNELS: 0.0}

    (axes,) = saved(plot_importances, shares, "validation/mse", 4).axes

    assert axes.get_title() == "Parameter importance for validation MSE after 4 epochs"
    assert axes.get_xlabel() == "importance (PED-ANOVA)"
    assert [label.get_text() for label in axes.get_yticklabels()] == [CHANNELS, HIDDEN, DECAY]
    assert [bar.get_width() for bar in axes.patches] == [0.0, 0.25, 0.75]
    (axes,) = saved(plot_importances, shares, "latency", 1).axes
    assert axes.get_title() == "Parameter importance for latency per image (ms) after 1 epoch"


def test_slices_show_each_trial_at_its_value_of_every_parameter(saved, trials):
    figure = saved(plot_slices, trials, "validation/mse")

    assert figure.get_suptitle() == "Results by parameter value: validation MSE"
    channels, decay, hidden = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["channels", "weight_decay", "hidden"]
    assert channels.get_ylabel() == "validation MSE"
    assert [label.get_text() for label in channels.get_xticklabels()] == ["8-4", "8"]
    assert [points(each) for each in channels.collections] == [[[0, 0.2], [1, 0.1]], [[1, 0.6]]]
    assert decay.get_xscale() == "log"
    assert [points(each) for each in decay.collections] == [
        [[1e-6, 0.2], [1e-4, 0.1]],
        [[1e-5, 0.6]],
    ]
    assert hidden.get_xscale() == "linear"
    assert [points(each) for each in hidden.collections] == [[[4, 0.2], [8, 0.1]], []]
    assert texts(figure.legends[0]) == ["complete", "pruned"]


def test_more_than_four_slices_need_another_row(saved):
    params = {f"train.p{number}": 1 + number for number in range(6)}
    trials = [trial(number, COMPLETE, [0.5 + number], params) for number in range(2)]

    figure = saved(plot_slices, trials, "validation/mse")

    assert [axes.get_visible() for axes in figure.axes] == [True] * 6 + [False] * 2
    assert figure.axes[4].get_ylabel() == "validation MSE"


def test_parallel_coordinates_have_a_line_per_trial_with_results(saved, trials):
    figure = saved(plot_parallel_coordinates, trials, "validation/mse")

    axes, colorbar = figure.axes
    assert axes.get_title() == "Parallel coordinates of all trials (dashed: pruned)"
    assert colorbar.get_ylabel() == "validation MSE"
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["channels", "weight_decay", "hidden"]
    # worst first; weight_decay is on a logarithmic axis; what does not apply is below the axis
    assert [line.get_linestyle() for line in axes.lines] == ["--", "-", "-"]
    assert [line.get_ydata() for line in axes.lines] == [
        pytest.approx([1, 1 / 3, -0.08]),
        pytest.approx([0, 0, 0]),
        pytest.approx([1, 2 / 3, 1]),
    ]
    assert len({line.get_color() for line in axes.lines}) == 3


def test_parallel_coordinates_of_negative_results_and_a_single_value(saved):
    trials = [trial(number, COMPLETE, [-1.0 - number], {HIDDEN: 8}) for number in range(2)]

    axes, _ = saved(plot_parallel_coordinates, trials, "validation/loss").axes

    assert [list(line.get_ydata()) for line in axes.lines] == [[0.5], [0.5]]


def test_the_pareto_front_and_the_selected_trial_are_marked(saved):
    trials = [
        trial(0, COMPLETE, [0.2], {HIDDEN: 4}, 100),
        trial(1, COMPLETE, [0.1], {HIDDEN: 4}, 9000),
        trial(2, COMPLETE, [0.3], {HIDDEN: 4}, 500),
        trial(3, PRUNED, [], {HIDDEN: 4}),
    ]
    objectives = ["validation/mse", "operations"]

    (axes,) = saved(plot_pareto_front, trials, trials[:2], trials[1], objectives).axes

    assert axes.get_title() == "Pareto front of all complete trials"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("validation MSE", "operations per image")
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
    assert texts(axes.get_legend()) == ["complete", "Pareto front", "selected"]
    assert [points(each) for each in axes.collections] == [
        [[0.2, 100], [0.1, 9000], [0.3, 500]],
        [[0.2, 100], [0.1, 9000]],
        [[0.1, 9000]],
    ]


def test_every_final_state_has_a_style_of_its_own():
    assert set(STYLES) == {COMPLETE, PRUNED, FAILED}
    assert len(set(STYLES.values())) == 3
