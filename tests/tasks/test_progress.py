"""Progress events reach the listeners of their own context; numbers agree with their nouns."""

from __future__ import annotations

import threading
from contextvars import copy_context

import pytest

from tasks.progress import Event, counted, emit, listening


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


@pytest.mark.parametrize(("count", "said"), [(0, "0 files"), (1, "1 file"), (1200, "1,200 files")])
def test_counted_agrees_with_its_noun(count: int, said: str) -> None:
    assert counted(count, "file") == said
