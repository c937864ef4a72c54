"""Atomic writes to a local folder: a temporary file beside the target, then a rename or a hard link."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.store.keys import PARTIAL

MKDIR_ATTEMPTS = 20  # another process may remove the empty folder again and again
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


def write_atomically(path: Path, content: Path | bytes, *, keep_mode: bool = False) -> None:
    """Write bytes, or a copy of a file, to `path`, and make its folder. Safe against a kill.

    Args:
        keep_mode: of a file that is replaced; a damaged one may have any.

    Raises:
        OSError: nothing was written.
    """
    with _temporary(path, content) as temporary:
        if keep_mode and path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)


def create_atomically(path: Path, content: bytes) -> bool:
    """Do as `write_atomically`, unless there is a file already: then return False. One of several writers wins.

    By a hard link; a file system without them may show an unfinished file for a moment.

    Raises:
        OSError: nothing was written.
    """
    with _temporary(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            # NFS may repeat a request that it has carried out already.
            return temporary.stat().st_nlink > 1
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return _create_unlinked(path, content)
        return True


def _create_unlinked(path: Path, content: bytes) -> bool:
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # Ctrl-C too
        path.unlink()
        raise
    return True


@contextmanager
def _temporary(path: Path, content: Path | bytes) -> Iterator[Path]:
    """A file with this content beside `path`, which is removed at the end unless it was renamed."""
    temporary = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
    try:
        _create(temporary)
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            shutil.copyfile(content, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


def _create(file: Path) -> None:
    """Create an empty file and its folder, which `LocalStore.delete` removes while it is empty."""
    for left in reversed(range(MKDIR_ATTEMPTS)):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            return
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise
