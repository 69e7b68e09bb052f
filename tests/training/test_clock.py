import time

from latentlab.training.checkpoint import Stopwatch


def test_it_counts_work_and_nothing_between(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    clock = Stopwatch()
    now = 103.0
    clock.start()
    now = 105.0

    clock.lap()
    clock.lap()
    assert clock.seconds == 2.0
    now = 106.0
    clock.lap()
    assert clock.seconds == 3.0
    now = 120.0
    clock.start()
    now = 121.0
    clock.lap()
    assert clock.seconds == 4.0
