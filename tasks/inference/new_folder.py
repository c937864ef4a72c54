"""Write a folder that is complete or absent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.vision.errors import BadInput


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write into, which becomes `folder` at the end.

    Raises:
        BadInput: `folder` can't be written, or is there and not empty.
    """
    folder = folder.absolute()
    if not folder.parent.is_dir():
        raise BadInput(f"{folder}: {folder.parent} is no folder; make it first")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"{folder} is there already; expected a new name or an empty folder")
        with tempfile.TemporaryDirectory(prefix=".relevo-", dir=folder.parent) as beside:
            part = Path(beside) / folder.name
            part.mkdir()
            yield part
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
    except OSError as error:
        raise BadInput(
            f"{folder} can't be written ({error.strerror}); name another folder"
        ) from None
