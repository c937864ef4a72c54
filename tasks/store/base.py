"""What a store is: one narrow interface, the refs that point into it, and the errors it raises.

Bytes lie under their own SHA-256 and never change; refs and run folders are small documents under
a name. A ref's URI is relative to its store, so that a store may be copied or moved whole.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Kind = Literal["dataset", "model", "evaluation", "export", "report", "download"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
CHUNK = 1 << 20


class StoreError(Exception):
    """The store can't be used as asked; one line for the person who gave its address."""


class Unavailable(StoreError):
    """Out of reach for now: the network or the service may be back in a moment."""


class Missing(StoreError):
    """Nothing lies under that name."""


class Damaged(StoreError):
    """The bytes are not those that the ref names."""


class Ref(BaseModel):
    """A pointer to bytes in a store: small enough to pass between tasks and to read by eye.

    Attributes:
        kind: what the bytes are. uri: where they lie, relative to the store.
        sha256: of the bytes. size: in bytes.
        digest: of what the bytes mean, which cache keys use: a model's is over its tensors alone.
        made_from: the refs that this one was made from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    uri: str = Field(max_length=300)
    sha256: Sha256
    size: int = Field(ge=0)
    digest: Sha256
    made_from: tuple[Ref, ...] = Field((), max_length=16)

    @field_validator("uri")
    @classmethod
    def _stays_inside(cls, uri: str) -> str:
        return checked_key(uri)


@dataclass(frozen=True)
class Entry:
    """One thing in a store: its key, its size in bytes, when it was last written or touched.

    `marked` is False for an object in a bucket that lacks relevo's mark; a listing doesn't look.
    """

    key: str
    size: int
    modified: datetime
    marked: bool = True


def checked_key(key: str) -> str:
    """`key` itself, if it is a plain relative path inside a store.

    Raises:
        ValueError: it is absolute, climbs out, or holds other than letters, digits and ._-/~
    """
    if not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", key, re.ASCII) or {".", ".."} & set(
        key.split("/")
    ):
        raise ValueError(f"store key {key!r}: expected a relative path of letters, digits and ._-~")
    return key


def stays_inside(key: str) -> bool:
    """Whether `key` is a relative path that neither climbs nor names a folder."""
    return not {"", ".", ".."} & {*key.split("/")} and "\0" not in key


def listed_key(key: str) -> str:
    """`key` itself, if it stays inside a store: people put files there under names of their own.

    Such names are read and removed as they were listed; only a `checked_key` is ever written.

    Raises:
        ValueError: it is absolute or climbs out.
    """
    if not stays_inside(key):
        raise ValueError(f"store key {key!r}: expected a relative path that stays inside the store")
    return key


class Store(ABC):
    """Bytes under their content's hash, and small documents under a name."""

    uri: str

    def check(self) -> None:
        """Raise StoreError if it is plain at once that the store is of no use."""
        next(self.keys("runs"), None)

    @abstractmethod
    def exists(self) -> bool:
        """Whether the folder is there, or anything at all in the bucket under the prefix."""

    @abstractmethod
    def put(
        self,
        kind: Kind,
        content: Path | bytes,
        suffix: str = "",
        *,
        digest: str | None = None,
        made_from: tuple[Ref, ...] = (),
    ) -> Ref:
        """Publish bytes, or a file of them, and return the ref; safe against a kill at any instant.

        Bytes that lie there already become young again, so that none are garbage that were just put.

        Raises:
            StoreError: the store can't be written.
        """

    @abstractmethod
    def fetch(self, ref: Ref) -> Path:
        """A local file with the ref's bytes, checked against its hash on every call.

        Raises:
            Missing, Damaged: nothing is there, or other bytes than the ref names.
        """

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The document under `key`. Raises Missing."""

    @abstractmethod
    def write(self, key: str, content: bytes) -> None:
        """Put a document under `key`, whole or not at all, in place of an earlier one."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove what lies under `key`, if anything does."""

    @abstractmethod
    def copy(self, key: str, to: str) -> None:
        """Copy `key` to `to`, all or nothing, without passing the bytes through this process.

        Raises:
            Missing: nothing is stored under `key`.
        """

    def touch(self, key: str) -> None:
        """Set the time of the last change to now. Raises Missing."""
        self.copy(key, key)

    @abstractmethod
    def entries(self, prefix: str) -> Iterator[Entry]:
        """Everything below the folder `prefix`, sorted by key."""

    @abstractmethod
    def entry(self, key: str) -> Entry:
        """What lies under `key`, as it is now, its mark included. Raises Missing."""

    @abstractmethod
    def top(self) -> list[str]:
        """What lies at the store's address itself: names of files and of folders, sorted.

        In a bucket the first thousand.
        """

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below the folder `prefix`, sorted."""
        for entry in self.entries(prefix):
            yield entry.key

    @abstractmethod
    def sha256(self, key: str) -> str:
        """The hash of what lies under `key`, read piece by piece. Raises Missing."""

    def unfinished(self) -> Iterator[Entry]:
        """What a killed writer left behind, under a name that no one reads."""
        yield from ()

    def drop_uploads(self, before: datetime, *, dry_run: bool) -> list[Entry]:
        """Drop what uploads left that began before then and were cut off; says what."""
        return []

    @contextmanager
    def claim(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the work named `key` for oneself; while another process does, wait.

        A store that can't tell who holds what lets everyone in: the work is done twice, with the same
        result. `waiting` is called once if there is somebody to wait for.
        """
        yield

    @abstractmethod
    def address(self, key: str) -> str:
        """What a person opens: a path, or a URI."""

    def set_aside(self, key: str) -> str:
        """Move a damaged document or blob out of the way and return its new key."""
        aside = f"damaged/{key.replace('/', '~')}"
        try:
            self.copy(key, aside)
        except Unavailable:
            raise  # what is only out of reach must not be deleted unsaved
        except StoreError:
            pass
        self.delete(key)
        return aside


def blob_key(kind: Kind, sha256: str, suffix: str) -> str:
    """Where bytes of this kind and hash lie."""
    return f"{kind}s/{sha256}{suffix}"


def ref_to(
    kind: Kind,
    content: Path | bytes,
    suffix: str,
    digest: str | None,
    made_from: tuple[Ref, ...],
) -> Ref:
    """The ref to these bytes, which is the same in every store."""
    sha256, size = sha256_of(content)
    return Ref(
        kind=kind,
        uri=blob_key(kind, sha256, suffix),
        sha256=sha256,
        size=size,
        digest=digest or sha256,
        made_from=made_from,
    )


def sha256_of(content: Path | bytes) -> tuple[str, int]:
    """Hash and size in bytes of a file or of bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), content.stat().st_size
