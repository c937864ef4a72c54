"""Export a trained model to a folder in another program's format."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tasks.runs.lookup import find_model
from tasks.vision.errors import BadInput
from tasks.vision.export.formats import Format, check_format, write_format


def export_model(store: str, model: str, folder: Path, kind: Format) -> list[str]:
    """Write a model of the store, or of a folder models/STAGE, to `folder`; return the names of its files.

    The write is atomic: the folder is complete or absent.

    Raises:
        BadInput: there is no such model, the folder can't be written or is not empty, or the
            format's converter isn't installed.
    """
    folder = folder.absolute()
    check_format(kind)
    if not folder.parent.is_dir():
        raise BadInput(f"{folder}: {folder.parent} is no folder; make it first")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"{folder} is there already; expected a new name or an empty folder")
        card, tensors = find_model(store, model)
        with tempfile.TemporaryDirectory(prefix=".relevo-", dir=folder.parent) as beside:
            part = Path(beside) / folder.name
            part.mkdir()
            write_format(card, tensors, kind, part)
            names = sorted(p.relative_to(part).as_posix() for p in part.rglob("*") if p.is_file())
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
    except OSError as error:
        raise BadInput(
            f"{folder} can't be written ({error.strerror}); name another folder"
        ) from None
    return names
