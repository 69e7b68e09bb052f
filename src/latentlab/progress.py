"""Progress on stderr: a bar with rate and time left on a terminal, silence anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass(frozen=True)
class Bar:
    """A bar on the screen, or nothing where nobody looks."""

    progress: Progress
    task: TaskID

    def advance(self, amount: float) -> None:
        """Count units that were just done."""
        self.progress.update(self.task, advance=amount)

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
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.1f} {unit}/s", style="progress.data.speed")

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield Bar(progress, task)
