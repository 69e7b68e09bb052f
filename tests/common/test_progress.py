import pytest
from rich.progress import Progress

from latentlab.common.progress import Bar, pace, progress_bar


@pytest.mark.parametrize("start", [None, 10])
def test_what_is_expected_adds_to_the_total(start):
    with progress_bar("work", start, "B") as bar:
        for amount in (100, 20):
            bar.expect(amount)
        bar.advance(60)
        bar.advance(30)

    (task,) = bar.progress.tasks
    assert task.total == (start or 0) + 120
    assert task.completed == 90


class Shown:
    """A bar whose clock stands until it is told to go on."""

    def __init__(self, total):
        self.now = 0.0
        progress = Progress(get_time=lambda: self.now)
        self.bar = Bar(progress, progress.add_task("work", total=total, before=0.0))

    def pace(self, unit):
        return pace(self.bar.progress.tasks[0], unit)


def test_what_ends_in_rounds_has_the_pace_of_all_rounds():
    shown = Shown(60)
    for _ in range(4):
        shown.now += 40
        for _ in range(4):
            shown.bar.advance(1)

    assert shown.pace("trials") == "10.0 s each, 0:07:20 left"


def test_what_an_earlier_run_did_counts_as_done_and_says_nothing_of_pace():
    shown = Shown(60)
    shown.bar.advance(50, earlier=True)
    assert shown.pace("epochs") == ""

    shown.now = 2.0
    shown.bar.advance(5)

    assert shown.pace("epochs") == "2.5 epochs/s, 0:00:02 left"


def test_of_unknown_work_no_time_is_left():
    shown = Shown(None)
    shown.now = 2.0
    shown.bar.advance(3000)

    assert shown.pace("B") == "1,500.0 B/s"


def test_nothing_is_shown_where_nobody_looks(capsys):
    with progress_bar("work", 2, "parts") as bar:
        bar.advance(2)

    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_what_is_done_with_its_rate_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # how rich is told of a terminal
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar("work", 8, "epochs") as bar:
        bar.advance(2)

    out, err = capsys.readouterr()
    assert out == ""
    assert "work" in err
    assert "2/8" in err
    assert "epochs/s" in err
    assert "left" in err
