"""Numbered records: `FOLDER/00000001.json`, 00000002 and so on, created exclusively and never changed.

So of several writers at once one wins, and a history has no gap.
"""

from __future__ import annotations

import re

from tasks.store.base import MAX_DOCUMENT, Store

MAX_NUMBER = 99_999_999  # of a folder


def record_key(folder: str, number: int) -> str:
    """Key of a record in the store."""
    return f"{folder}/{number:08}.json"


def record_numbers(store: Store, folder: str) -> tuple[int, ...]:
    """Sorted numbers of the records that are in the store."""
    pattern = re.compile(rf"{re.escape(folder)}/(\d{{8}})\.json", re.ASCII)
    found = (pattern.fullmatch(key) for key in store.keys(folder))
    return tuple(sorted(int(each[1]) for each in found if each))


def create_record(store: Store, key: str, content: bytes, most: int = MAX_DOCUMENT) -> bool:
    """Write a record of at most `most` bytes, unless another process was faster: then return False."""
    # The bytes tell whose record it is, if the response to the write was lost.
    return store.create(key, content) or store.read(key, most) == content
