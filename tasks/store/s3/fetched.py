"""How many bytes this process has fetched from buckets, for the metrics of a worker."""

from __future__ import annotations

from threading import Lock

_lock = Lock()
_total = 0


def count_fetched(size: int) -> None:
    """Add the size of a blob or file that was downloaded."""
    global _total
    with _lock:
        _total += size


def bytes_fetched() -> int:
    """Return the bytes that this process has downloaded so far."""
    return _total
