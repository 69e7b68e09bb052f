"""Progress on stderr: a bar with rate and time left on a terminal, silence anywhere else.

The rate is the mean since the bar was shown: what is done in rounds, such as the trials of a study,
ends several at a time, and then for minutes none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID


@dataclass(frozen=True)
class Bar:
    """A bar on the screen, or nothing where nobody looks."""

    progress: Progress
    task: TaskID

    def advance(self, amount: float, earlier: bool = False) -> None:
        """Count units that were done: just now, or in an earlier run, which tells no pace."""
        before = self.progress.tasks[self.task].fields["before"]
        self.progress.update(self.task, advance=amount, before=before + amount * earlier)

    def say(self, description: str) -> None:
        """Show other words before the bar."""
        self.progress.update(self.task, description=description)

    def expect(self, amount: float) -> None:
        """Add units to the total."""
        total = self.progress.tasks[self.task].total or 0
        self.progress.update(self.task, total=total + amount)


def note(text: str) -> None:
    """Say something that a person should know, on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(description: str, total: float | None, unit: str) -> Iterator[Bar]:
    """Show a bar while the block runs; `total` None is for work whose size is told later."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.text import Text

    class Pace(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(pace(task, unit), style="progress.data.speed")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Pace())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total, before=0.0)
        yield Bar(progress, task)


def pace(task: Task, unit: str) -> str:
    """How fast it goes and, where the total is known, the time left: `2.5 epochs/s, 0:00:04 left`.

    Of what takes more than a second, how many seconds each takes.
    """
    done, seconds = task.completed - task.fields["before"], task.elapsed or 0.0
    if not done or not seconds:
        return ""
    rate = done / seconds
    words = f"{rate:,.1f} {unit}/s" if rate >= 1 else f"{1 / rate:,.1f} s each"
    if task.remaining is None:
        return words
    return f"{words}, {timedelta(seconds=round(task.remaining / rate))} left"
