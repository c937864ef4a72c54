"""The one cache, and the one rule of a hit, which `run`, `plan`, `verify` and `gc` share.

A hit is a record exactly as it was written, of the key that was asked for, whose result is in the
store and has the hash that the record gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.cache.records import Record, Work, read_record
from tasks.io.documents import seal
from tasks.store.base import Damaged, Entry, Missing, Ref, Store

NEVER_DONE = "it was not done before"


@dataclass(frozen=True)
class Hit:
    """The result of work that was done before."""

    ref: Ref


@dataclass(frozen=True)
class Miss:
    """Why there is no result to take; `damaged` is the key of what should be set aside, if anything."""

    reason: str
    damaged: str | None = None


class Cache:
    """Records under `cache/` of a store, which point to results in it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def lookup(self, work: Work) -> Hit | Miss:
        """Look the work up; nothing is changed.

        Raises:
            Unavailable: the store is out of reach, which is no miss.
        """
        key = record_key(work)
        try:
            record = read_record(work.key, self.store.read(key))
        except Missing:
            return Miss(NEVER_DONE)
        except ValueError as error:
            return Miss(f"its cache record is damaged ({error})", key)
        try:
            self.store.fetch(record.ref)
        except Missing:
            return Miss("its result is gone from the store")
        except Damaged:
            return Miss("its result is damaged", record.ref.uri)
        return Hit(record.ref)

    def record(self, work: Work, ref: Ref) -> None:
        """Point to the result of finished work; its bytes are in the store by now."""
        self.store.write(record_key(work), seal(Record(ref=ref, ingredients=work.ingredients)))

    def touch(self, work: Work) -> None:
        """Mark the record as used now, so that its result is not garbage."""
        self.store.touch(record_key(work))

    def entries(self) -> Iterator[Entry]:
        """Everything under `cache/`, sound or not, sorted by key."""
        return self.store.entries("cache")

    def read(self, entry: str) -> Record:
        """The record in one entry, named by its key in the store.

        Raises:
            Missing: it is gone. ValueError: it is no record of that key.
        """
        return read_record(
            entry.removeprefix("cache/").removesuffix(".json"), self.store.read(entry)
        )


def record_key(work: Work) -> str:
    """Where the record of this work is in a store."""
    return f"cache/{work.key}.json"
