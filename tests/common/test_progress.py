from rich.progress import Progress

from latentlab.common.progress import Bar, format_rate, progress_bar


class BarWithClock:
    """A progress bar whose clock is set by the test."""

    def __init__(self, total):
        self.now = 0.0
        progress = Progress(get_time=lambda: self.now)
        self.bar = Bar(progress, progress.add_task("work", total=total, before=0.0))

    def rate(self, unit):
        return format_rate(self.bar.progress.tasks[0], unit)


def test_the_rate_is_the_mean_since_the_start():
    timed = BarWithClock(60)
    for _ in range(4):
        timed.now += 40
        for _ in range(4):
            timed.bar.advance(1)

    assert timed.rate("trials") == "10.0 s each, 0:07:20 left"


def test_units_of_an_earlier_run_count_as_done_but_not_for_the_rate():
    timed = BarWithClock(60)
    timed.bar.advance(50, earlier=True)
    assert timed.rate("epochs") == ""

    timed.now = 2.0
    timed.bar.advance(5)

    assert timed.rate("epochs") == "2.5 epochs/s, 0:00:02 left"


def test_nothing_is_shown_if_stderr_is_not_a_terminal(capsys):
    with progress_bar("work", 2, "parts") as bar:
        bar.advance(2)

    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_progress_rate_and_remaining_time_on_stderr(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then assumes a terminal
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar("work", 8, "epochs") as bar:
        bar.describe("other work")
        bar.advance(2)

    out, err = capsys.readouterr()
    assert out == ""
    for part in ("other work", "2/8", "epochs/s", "left"):
        assert part in err
