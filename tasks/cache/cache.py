"""The cache, with the definition of a hit that `run`, `plan`, `verify` and `gc` share.

A hit is an undamaged record of the requested key whose result is in the store and has the recorded hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.cache.records import Record, Work, read_record
from tasks.io.documents import seal
from tasks.store.base import Damaged, Entry, Missing, Ref, Store

NOT_CACHED = "it is not cached"
TOUCH_EVERY = timedelta(hours=12)  # a request less for each hit on a younger record


@dataclass(frozen=True)
class Hit:
    """A cached result.

    Attributes:
        aging: True if its record should be touched.
    """

    ref: Ref
    aging: bool = False


@dataclass(frozen=True)
class Miss:
    """Why there is no cached result; `damaged` is the key of a damaged record or result, if any."""

    reason: str
    damaged: str | None = None


class Cache:
    """Records under `cache/` of a store, which point to results in it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def lookup(self, work: Work) -> Hit | Miss:
        """Look up the work; change nothing.

        Raises:
            Unavailable: the store is unavailable, which is not a miss.
        """
        key = record_key(work)
        try:
            content, used = self.store.read_dated(key)
            record = read_record(work.key, content)
        except Missing:
            return Miss(NOT_CACHED)
        except ValueError as error:
            return Miss(f"its cache record is damaged ({error})", key)
        try:
            self.store.fetch(record.ref)
        except Missing:
            return Miss("its result is missing from the store")
        except Damaged:
            return Miss("its result is damaged", record.ref.uri)
        return Hit(record.ref, aging=datetime.now(UTC) - used > TOUCH_EVERY)

    def record(self, work: Work, ref: Ref) -> None:
        """Record the result of finished work; its bytes must be in the store already."""
        self.store.write(record_key(work), seal(Record(ref=ref, ingredients=work.ingredients)))

    def touch(self, work: Work) -> None:
        """Mark the record as used now, which protects its result from `gc`."""
        self.store.touch(record_key(work))

    def entries(self) -> Iterator[Entry]:
        """Return everything under `cache/`, damaged or not, sorted by key."""
        return self.store.entries("cache")

    def read(self, entry: str) -> Record:
        """Read the record with this key in the store.

        Raises:
            Missing: there is none. ValueError: it is damaged or another key's.
        """
        return read_record(
            entry.removeprefix("cache/").removesuffix(".json"), self.store.read(entry)
        )


def record_key(work: Work) -> str:
    """Return the key of this work's record in a store."""
    return f"cache/{work.key}.json"
