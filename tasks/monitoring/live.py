"""Training progress in Prefect's UI: a progress artifact that is updated while a stage trains."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.monitoring.prefect_ui import artifact_key, warn_on_failure
from tasks.progress import Event, epoch_line, listening

EVERY = 5.0  # seconds between two updates
LAST = 5.0  # seconds that the last update may take


@contextmanager
def live_progress(task: str) -> Iterator[None]:
    """Show the progress of the task run named `task` in Prefect's UI while the block runs."""
    live = _Live(task)
    with listening(live):
        try:
            yield
        finally:
            live.end()


class _Live:
    """Listener that sends the newest event in a thread, so that training never waits for the server."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._newest: Any = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        if event.task != self._task or event.detail is None:
            return
        self._newest = event.detail
        if self._thread is None:
            # Prefect reads the artifact's flow run and task run from the context.
            run = copy_context().run
            self._thread = threading.Thread(target=run, args=(self._follow,), daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Send the last event and stop."""
        self._over.set()
        if self._thread:
            self._thread.join(LAST)

    def _follow(self) -> None:
        artifact: UUID | None = None
        over = False
        with warn_on_failure():
            while True:
                percent, words = round(100 * self._newest.share, 1), epoch_line(self._newest)
                if artifact is None:
                    key = artifact_key("progress", self._task)
                    artifact = create_progress_artifact(  # type: ignore[assignment]
                        percent, key=key, description=words
                    )
                else:
                    update_progress_artifact(artifact, percent, description=words)
                if over:
                    return
                over = self._over.wait(EVERY)
