import pytest

from latentlab.plots.canvas import draw_in_background, legend_outside, new_figure, save


def plot(target):
    figure = new_figure(2, 2)
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label="a line")
    legend_outside(axes)
    save(figure, target)


@pytest.mark.usefixtures("cold_processes")
def test_equal_figures_give_equal_files_also_when_drawn_in_the_background(tmp_path):
    plot(tmp_path / "first.png")
    plot(tmp_path / "second.png")
    with draw_in_background():
        plot(tmp_path / "background.png")

    expected = (tmp_path / "first.png").read_bytes()
    assert (tmp_path / "second.png").read_bytes() == expected
    assert (tmp_path / "background.png").read_bytes() == expected


def test_an_error_while_drawing_in_the_background_is_raised_at_the_end(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"), draw_in_background():
        plot(tmp_path / "file" / "plot.png")
