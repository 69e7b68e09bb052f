import pytest

from latentlab.progress import progress_bar


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
