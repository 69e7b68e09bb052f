"""Messages and numbers for people, and progress bars on stderr with rate and remaining time.

Bars are hidden if stderr is not a terminal.

The rate is the mean since the bar was shown. A moving average would be misleading for work that
ends in rounds, such as the trials of a study.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task, TaskID

WIDTH_OF_FILES = 500
"""Columns of a table in a file or a pipe, at most."""


@dataclass(frozen=True)
class Bar:
    """A progress bar."""

    progress: Progress
    task: TaskID

    def advance(self, amount: float, earlier: bool = False) -> None:
        """Add completed units; those of an `earlier` run do not count for the rate."""
        before = self.progress.tasks[self.task].fields["before"]
        self.progress.update(self.task, advance=amount, before=before + amount * earlier)

    def describe(self, description: str) -> None:
        """Replace the text in front of the bar."""
        self.progress.update(self.task, description=description)


def short(value: float) -> str:
    """Return a number as people read it: integers with separators, others with four digits."""
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"


def output_console() -> Console:
    """Return a console on stdout for tables; in a file or a pipe, it does not wrap their lines."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_FILES
    return console


def note(text: str) -> None:
    """Print a message for the user on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(description: str, total: float, unit: str) -> Iterator[Bar]:
    """Show a progress bar while the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(format_rate(task, unit), style="progress.data.speed")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total, before=0.0)
        yield Bar(progress, task)


def format_rate(task: Task, unit: str) -> str:
    """Format the rate and the remaining time: `2.5 epochs/s, 0:00:04 left`.

    Rates below one per second are shown as seconds per unit. Returns an empty text before the first
    unit is complete.
    """
    done, seconds = task.completed - task.fields["before"], task.elapsed or 0.0
    if not done or not seconds:
        return ""
    rate = done / seconds
    text = f"{rate:,.1f} {unit}/s" if rate >= 1 else f"{1 / rate:,.1f} s each"
    return f"{text}, {timedelta(seconds=round((task.remaining or 0.0) / rate))} left"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 image`, `2,000 images`, `3 classes`."""
    ending = "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{'' if count == 1 else ending}"
