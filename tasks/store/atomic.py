"""Atomic writes to a local folder: a temporary file beside the target, then a rename."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from tasks.store.keys import PARTIAL

MKDIR_ATTEMPTS = 20  # another process may remove the empty folder again and again


def write_atomically(path: Path, content: Path | bytes, *, keep_mode: bool = False) -> None:
    """Write bytes, or a copy of a file, to `path`, and make its folder. Safe against a kill.

    Args:
        keep_mode: of a file that is replaced; a damaged one may have any.

    Raises:
        OSError: nothing was written.
    """
    temporary = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
    try:
        _create(temporary)
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            shutil.copyfile(content, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if keep_mode and path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:  # Ctrl-C too
        with suppress(OSError):
            temporary.unlink()
        raise


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
