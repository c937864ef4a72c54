"""How long a consumer waits for what it iterates over."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tasks.progress import MUCH
from tasks.vision.data.batches import prefetch
from tasks.vision.data.batches.prefetch import Waiting


def share_of(making: float, using: float) -> float:
    """The share for five items that take so many seconds to make and to use."""

    def items() -> Iterator[int]:
        for item in range(5):
            time.sleep(making)
            yield item

    waiting, found = Waiting(), []
    for item in waiting.over(items()):
        time.sleep(using)
        found.append(item)
    assert found == list(range(5))
    return waiting.share


def test_share_is_that_of_the_time_which_items_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "WORTH_A_WORD", 60.0)
    assert share_of(0.01, 0.0) == 0.0
    monkeypatch.setattr(prefetch, "WORTH_A_WORD", 0.01)
    assert share_of(0.01, 0.2) < MUCH < share_of(0.2, 0.01) <= 1
