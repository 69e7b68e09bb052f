"""How long a training has taken."""

import time


class Clock:
    """Seconds of work, those before the training was killed and taken up again among them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = time.perf_counter()

    def start(self) -> None:
        """Work begins; the time since it was counted last was none."""
        self._started = time.perf_counter()

    def count(self) -> None:
        """Add the work since the start, or since it was counted last."""
        now = time.perf_counter()
        self.seconds += now - self._started
        self._started = now
