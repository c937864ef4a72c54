"""A store in a local folder, which several machines may share."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.store.atomic import create_atomically, write_atomically
from tasks.store.base import (
    MAX_DOCUMENT,
    Damaged,
    Entry,
    Missing,
    Oversized,
    Ref,
    Store,
    StoreError,
    sha256_of,
)
from tasks.store.keys import FOLDERS, PARTIAL, checked_key, listed_key


class LocalStore(Store):
    """Files in one folder, which is created by the first write."""

    def __init__(self, folder: Path) -> None:
        """Raises StoreError if the path begins with ~ and an unknown user's name."""
        try:
            self.folder = folder.expanduser().absolute()
        except RuntimeError:
            raise StoreError(
                f"store {str(folder)!r}: there is no home of that name; give another folder"
            ) from None
        self.uri = str(self.folder)

    def exists(self) -> bool:
        with self._errors(self._unreadable):
            return self.folder.exists()

    def _put(self, ref: Ref, content: Path | bytes) -> None:
        if _is_intact(self._path(ref.uri), ref):
            # If it was deleted meanwhile, or belongs to another user, it is written again.
            with suppress(StoreError):
                self.touch(ref.uri)
                return
        self._write(ref.uri, content)

    def fetch(self, ref: Ref) -> Path:
        path = self._existing(ref.uri)
        if not _is_intact(path, ref):
            raise Damaged(f"{ref.uri} in the store {self.uri} is damaged")
        return path

    def read_dated(self, key: str, most: int = MAX_DOCUMENT) -> tuple[bytes, datetime]:
        with self._reading(key), self._path(key).open("rb") as file:
            stat = os.fstat(file.fileno())
            if stat.st_size > most:  # before any of it is in memory
                raise Oversized(key, stat.st_size, most)
            return file.read(most), datetime.fromtimestamp(stat.st_mtime, UTC)

    def write(self, key: str, content: bytes) -> None:
        self._write(key, content)

    def create(self, key: str, content: bytes) -> bool:
        with self._errors(self._unwritable):
            return create_atomically(self._path(checked_key(key)), content)

    def copy(self, key: str, to: str, size: int | None = None) -> None:
        checked_key(to)
        self._write(to, self._existing(key))

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._errors(self._unwritable):
            path.unlink(missing_ok=True)
        # Remove the folders that this empties, except the one at the top of the store.
        with suppress(OSError):
            for folder in path.relative_to(self.folder).parents[:-2]:
                (self.folder / folder).rmdir()

    def touch(self, key: str) -> None:
        with self._errors(self._unwritable):
            try:
                os.utime(self._path(key))
            except FileNotFoundError:
                raise self._missing(key) from None

    def entries(self, prefix: str) -> Iterator[Entry]:
        yield from self._files(prefix, partial=False)

    def folders(self, prefix: str) -> list[str]:
        return [path.name for path in self._listed(self._path(prefix)) if path.is_dir()]

    def entry(self, key: str) -> Entry:
        try:
            return self._entry(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(key) from None
        except OSError as error:
            raise self._unreadable(error) from None

    def top(self) -> list[str]:
        return [path.name for path in self._listed(self.folder)]

    def unfinished(self) -> Iterator[Entry]:
        for folder in FOLDERS:
            yield from self._files(folder, partial=True)

    def sha256(self, key: str) -> str:
        with self._reading(key):
            return sha256_of(self._path(key))[0]

    @contextmanager
    def claim(self, key: str, on_wait: Callable[[], None]) -> Iterator[None]:
        # The system releases the lock when its holder ends, however it ends.
        path = self._path(checked_key(f"locks/{key}"))
        lock = FileLock(path, mode=0o666)
        with self._errors(self._unwritable):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                on_wait()
                lock.acquire(poll_interval=0.5)
        try:
            yield
        finally:
            lock.release()

    def address(self, key: str) -> str:
        return str(self._path(key))

    def check(self) -> None:
        folder = self.folder
        with self._errors(self._unwritable):
            while not folder.exists():
                folder = folder.parent
            tempfile.TemporaryFile(dir=folder).close()

    @contextmanager
    def _errors(self, translate: Callable[[OSError], StoreError]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise translate(error) from None

    def _unwritable(self, error: OSError) -> StoreError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free space" if full else "make it a folder that you may write"
        return StoreError(
            f"store {self.uri} can't be written ({error.strerror or error}); "
            f"{hint}, or give another --store"
        )

    def _unreadable(self, error: OSError) -> StoreError:
        return StoreError(
            f"store {self.uri} can't be read ({error.strerror or error}); "
            "make it a folder that you may read, or give another --store"
        )

    def _no_folder(self) -> StoreError:
        return StoreError(f"store {self.uri} is a file; give a folder or s3://bucket/prefix")

    def _missing(self, key: str) -> Missing:
        return Missing(f"{key} is not in the store {self.uri}")

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise self._missing(key) from None
        except OSError as error:
            raise StoreError(f"store {self.uri}: {key} can't be read ({error.strerror})") from None

    def _listed(self, folder: Path) -> list[Path]:
        """What is directly in a folder, sorted by name; nothing if there is no such folder."""
        try:
            return sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            if self.folder.is_file():
                raise self._no_folder() from None
            return []
        except OSError as error:
            raise self._unreadable(error) from None

    def _path(self, key: str) -> Path:
        return self.folder / listed_key(key)

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        with self._errors(self._unreadable):
            if path.is_file():
                return path
        raise self._missing(key)

    def _files(self, prefix: str, partial: bool) -> Iterator[Entry]:
        root = self._path(prefix)
        found = []
        with self._errors(self._unreadable):
            if self.folder.exists() and not self.folder.is_dir():
                raise self._no_folder()
            for path in root.rglob("*"):
                with suppress(FileNotFoundError):  # another process may delete it meanwhile
                    if path.is_file() and (PARTIAL in path.name) == partial:
                        found.append(self._entry(path))
        yield from sorted(found, key=lambda entry: entry.key)

    def _entry(self, path: Path) -> Entry:
        stat = path.stat()
        modified = datetime.fromtimestamp(stat.st_mtime, UTC)
        return Entry(path.relative_to(self.folder).as_posix(), stat.st_size, modified)

    def _write(self, key: str, content: Path | bytes) -> None:
        with self._errors(self._unwritable):
            write_atomically(self._path(checked_key(key)), content)


def _is_intact(path: Path, ref: Ref) -> bool:
    try:
        return path.stat().st_size == ref.size and sha256_of(path)[0] == ref.sha256
    except OSError:
        return False
