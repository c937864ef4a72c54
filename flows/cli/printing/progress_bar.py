"""Progress of a run on standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from tasks.progress import Event, epoch_line
from tasks.vision.text import printable

if TYPE_CHECKING:
    from tasks.vision.training.state import Progress as TrainingProgress

LINE_INTERVAL = 20.0  # seconds between lines within an epoch, without a terminal


class ProgressDisplay:
    """Show events as a progress bar on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = 0.0
        self._width = 32

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.message:
            self._print(event.task, event.message)
        if event.detail is not None:
            self._update(event.task, event.detail)

    def _print(self, task: str, message: str) -> None:
        self._width = max(self._width, len(task) + 1)
        self.console.print(printable(f"{task + ':':<{self._width}} {message}"), markup=False)

    def _update(self, task: str, progress: TrainingProgress) -> None:
        if task not in self._tasks:
            self._tasks[task] = self._bar.add_task(printable(task), total=1.0, note="")
            self._last_line = time.monotonic()
        line = epoch_line(progress)
        pace = line.rpartition("; ")[2]
        self._bar.update(self._tasks[task], completed=progress.share, note=pace)
        due = time.monotonic() - self._last_line > LINE_INTERVAL
        # A head has many short epochs: print every tenth.
        listed = progress.epochs <= 10 or progress.epoch % 10 == 0
        ended = progress.row and (listed or progress.epoch == progress.epochs)
        if ended or (due and (progress.row or not self.console.is_terminal)):
            self._print(task, line)
            self._last_line = time.monotonic()
        if progress.share >= 1 and progress.row:
            self._bar.remove_task(self._tasks.pop(task))
