"""What a store is: one narrow interface, the refs that point into it, and the errors that it raises.

Blobs are stored under their own SHA-256 and never change; cache records, run folders and the like are
small documents stored under a name. A ref's URI is relative to its store, so a store may be moved.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.store.keys import Kind, blob_key, checked_key

MAX_DOCUMENT = 64 << 20  # bytes; the largest holds the confusion matrix of a thousand classes
MAX_ARRAYS = 8 << 30  # bytes of a file of arrays that is read into memory: a model, or a checkpoint
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StoreError(Exception):
    """The store can't be used as asked; the message is one line and says how to fix it."""


class Unavailable(StoreError):
    """Transient: the network or the service is out of reach and may come back."""


class Missing(StoreError):
    """Nothing is stored under that key."""


class Damaged(StoreError):
    """The bytes do not match the hash in the ref."""


class Oversized(Damaged, ValueError):
    """A file is larger than any of its kind, and is not read: ValueError, as for any malformed content."""

    def __init__(self, key: str, size: int, most: int) -> None:
        super().__init__(f"{key} has {size:,} bytes, expected {most:,} at most")


class Ref(BaseModel):
    """A pointer to a blob in a store: small enough to pass between tasks and to read by eye.

    Attributes:
        kind: what the bytes are. uri: their key in the store.
        sha256: of the bytes. size: in bytes.
        digest: of what the bytes mean, for cache keys: a model's covers its tensors alone.
        made_from: the refs that this one was computed from.
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
    """A file or object in a store: key, size in bytes, time of the last write or touch.

    `marked` is False for an object in a bucket without relevo's metadata; a listing does not look.
    """

    key: str
    size: int
    modified: datetime
    marked: bool = True


class Store(ABC):
    """Blobs under the hash of their content, and small documents under a name.

    Every method raises StoreError where the store can't be used, and Unavailable where it is out of
    reach. A key that leads out of the store is a ValueError.
    """

    uri: str
    remote = False  # True if each read and write is a network request

    def check(self) -> None:
        """Raise StoreError early if the store can't be used."""
        self.exists()

    @abstractmethod
    def exists(self) -> bool:
        """True if the folder exists, or any object under the bucket's prefix."""

    def put(
        self,
        kind: Kind,
        content: Path | bytes,
        suffix: str = "",
        *,
        digest: str | None = None,
        made_from: tuple[Ref, ...] = (),
    ) -> Ref:
        """Store a blob, from memory or a file, and return its ref. Atomic and idempotent.

        A blob that is already stored is repaired if damaged, and touched, so that gc keeps it.
        """
        sha256, size = sha256_of(content)
        ref = Ref(
            kind=kind,
            uri=blob_key(kind, sha256, suffix),
            sha256=sha256,
            size=size,
            digest=digest or sha256,
            made_from=made_from,
        )
        self._put(ref, content)
        return ref

    @abstractmethod
    def _put(self, ref: Ref, content: Path | bytes) -> None:
        """Store the bytes of a blob that has this ref."""

    @abstractmethod
    def fetch(self, ref: Ref) -> Path:
        """Path of a local file with the blob's bytes, whose hash is checked on every call.

        Raises:
            Missing, Damaged: nothing is stored there, or other bytes than the ref names.
        """

    def open_blob(self, ref: Ref) -> Path:
        """Like `fetch`, but the store is not asked about a blob of which this machine has a whole copy."""
        return self.fetch(ref)

    def read(self, key: str, most: int = MAX_DOCUMENT) -> bytes:
        """Content of a document of at most `most` bytes, since others may write into the store.

        Raises:
            Missing, Oversized: nothing is stored there, or more than that.
        """
        return self.read_dated(key, most)[0]

    @abstractmethod
    def read_dated(self, key: str, most: int = MAX_DOCUMENT) -> tuple[bytes, datetime]:
        """Like `read`, with the time of the last write or touch."""

    @abstractmethod
    def write(self, key: str, content: bytes) -> None:
        """Create or replace a document. Atomic."""

    @abstractmethod
    def create(self, key: str, content: bytes) -> bool:
        """Do as `write`, unless there is a document: False, even if it was a lost request of this call's."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a document or a blob. Idempotent."""

    @abstractmethod
    def copy(self, key: str, to: str, size: int | None = None) -> None:
        """Copy `key` to `to`, without passing the bytes through this process. Atomic.

        A bucket is asked for the size in bytes unless it is given.

        Raises:
            Missing: nothing is stored under `key`.
        """

    @abstractmethod
    def touch(self, key: str) -> None:
        """Set the time of the last change to now. Raises Missing."""

    @abstractmethod
    def entries(self, prefix: str) -> Iterator[Entry]:
        """List everything below the folder `prefix`, sorted by key."""

    @abstractmethod
    def folders(self, prefix: str) -> list[str]:
        """Sorted names of the folders directly below the folder `prefix`, without listing their files."""

    @abstractmethod
    def entry(self, key: str) -> Entry:
        """Look up one entry, its mark included. Raises Missing."""

    @abstractmethod
    def top(self) -> list[str]:
        """Sorted names of files and folders at the store's address; of a bucket the first thousand."""

    def keys(self, prefix: str) -> Iterator[str]:
        """List all keys below the folder `prefix`, sorted."""
        for entry in self.entries(prefix):
            yield entry.key

    @abstractmethod
    def sha256(self, key: str) -> str:
        """Hash of what is stored under `key`, read in pieces. Raises Missing."""

    @abstractmethod
    def unfinished(self) -> Iterator[Entry]:
        """List what killed writers left behind: partial files, or locks in a bucket."""

    def drop_uploads(self, before: datetime, *, dry_run: bool) -> list[Entry]:
        """Abort the incomplete uploads that began before that time, and list them."""
        return []

    @abstractmethod
    @contextmanager
    def claim(self, key: str, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the lock named `key`; call `on_wait` once and wait while another process holds it.

        A store without locks lets everyone in: the work is then done twice, with the same result.
        """
        yield

    @abstractmethod
    def address(self, key: str) -> str:
        """Path or URI of a key, for people to open."""

    def set_aside(self, key: str) -> str:
        """Move a damaged document or blob to `damaged/`, out of use, and return its new key."""
        aside = f"damaged/{key.replace('/', '~')}"
        try:
            self.copy(key, aside)
        except Unavailable:
            raise  # nothing is deleted before it is copied, if a retry may copy it
        except StoreError:
            pass
        self.delete(key)
        return aside


def sha256_of(content: Path | bytes) -> tuple[str, int]:
    """SHA-256 and size in bytes of a file or of bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), content.stat().st_size
