import pytest
from PIL import Image

from latentlab.plots import canvas


@pytest.fixture
def draw(tmp_path):
    """Call a plot function and return its figure, after checking the PNG file that it writes."""
    target, figures = tmp_path / "plot.png", []

    def write(figure, path):
        figures.append(figure)
        canvas._write(figure, path)

    def run(plot, *arguments, **options):
        token = canvas._writer.set(write)
        try:
            plot(target, *arguments, **options)
        finally:
            canvas._writer.reset(token)
        with Image.open(target) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 150
            assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        return figures[-1]

    return run


@pytest.fixture
def legend():
    """Return the texts of the legend of a figure or of axes."""

    def texts(parent):
        box = parent.legends[0] if hasattr(parent, "legends") else parent.get_legend()
        return [text.get_text() for text in box.get_texts()]

    return texts
