"""Progress events reach the listeners of their own context; numbers agree with their nouns."""

from __future__ import annotations

import threading
from contextvars import copy_context

import pytest

from tasks.progress import Event, counted, emit, epoch_line, listening
from tasks.vision.training.state import Progress


def test_events_reach_all_listeners_while_their_blocks_run() -> None:
    outer: list[Event] = []
    inner: list[Event] = []
    with listening(outer.append):
        with listening(inner.append):
            emit(Event("a"))
        emit(Event("b"))
    emit(Event("c"))
    assert [event.task for event in outer] == ["a", "b"]
    assert [event.task for event in inner] == ["a"]


def test_events_of_another_context_are_not_received() -> None:
    received: list[Event] = []
    with listening(received.append):
        for run in (copy_context().run, lambda function: function()):
            name = "copy" if not received else "alone"
            thread = threading.Thread(target=run, args=(lambda name=name: emit(Event(name)),))
            thread.start()
            thread.join()
    assert received == [Event("copy")]


def test_line_says_so_where_reading_images_bounds_the_rate() -> None:
    for waiting, said in ((0.1, ""), (0.35, "waiting for images to be read 35% of the time; ")):
        progress = Progress("all", 3, 10, 0.25, 1234.0, 300.0, waiting=waiting)
        line = f"all epoch 3/10: 25% of the training; {said}1,234 images/s, 5 min left"
        assert epoch_line(progress) == line


@pytest.mark.parametrize(("count", "said"), [(0, "0 files"), (1, "1 file"), (1200, "1,200 files")])
def test_counted_agrees_with_its_noun(count: int, said: str) -> None:
    assert counted(count, "file") == said
