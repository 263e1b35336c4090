"""Progress of long commands on stderr: a bar on a terminal, else a line now and then."""

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Bar"]


class Bar:
    """A bar that is there for the time of a block; lines are written above it.

    Args:
        task: what is going on at first.
        quiet_s: without a terminal, seconds between two lines of progress.
        time_left: show an estimate of it on the bar.
    """

    def __init__(self, task: str, quiet_s: float, *, time_left: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
        if time_left:
            columns.append(TimeRemainingColumn())
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(*columns, console=self._console, disable=not sys.stderr.isatty(), transient=True)
        self._task = self._bar.add_task(task, total=None)
        self._quiet_s, self._spoke = quiet_s, time.monotonic()

    def __enter__(self) -> "Self":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, total: int, line: str, task: str | None = None) -> None:
        """Move the bar, and name another task; where there is no bar, say `line` if nothing was said for long."""
        self._bar.update(self._task, description=task, completed=done, total=total)
        if self._bar.disable and time.monotonic() - self._spoke > self._quiet_s:
            self.say(line)

    def say(self, line: str) -> None:
        """Write a line."""
        self._console.print(line, soft_wrap=True, markup=False)
        self._spoke = time.monotonic()
