"""Files that a command writes where the user asks: complete, or as they were before."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from os.path import realpath
from pathlib import Path

from tasks.vision.errors import BadInput


def write_output(option: str, path: Path, content: bytes) -> None:
    """Write a file beside `path` and rename it, so that a full disk leaves what was there.

    A pipe or device is written as it is; a link stays one.

    Args:
        option: that names the file, for the message.

    Raises:
        BadInput: it can't be written.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            _replace(Path(realpath(path)), content)
    except OSError as error:
        raise BadInput(
            f"{option} {path} can't be written ({error.strerror}); name another file"
        ) from None


def _replace(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".relevo-")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        else:
            partial.chmod(0o666 & ~_umask())
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
