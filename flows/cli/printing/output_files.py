"""Files that a command writes where the user asks: complete, or as they were before."""

from __future__ import annotations

from os.path import realpath
from pathlib import Path

from tasks.store.atomic import write_atomically
from tasks.vision.errors import BadInput


def write_output(option: str, path: Path, content: bytes) -> None:
    """Write a file beside `path` and rename it, so that a full disk leaves what was there.

    A pipe or device is written as it is; a link stays one, and an old file's mode too.

    Args:
        option: that names the file, for the message.

    Raises:
        BadInput: it can't be written.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        target = Path(realpath(path))
        target.parent.stat()  # raises if there is none, which would be made else
        write_atomically(target, content, keep_mode=True)
    except OSError as error:
        raise BadInput(
            f"{option} {path} can't be written ({error.strerror}); name another file"
        ) from None
