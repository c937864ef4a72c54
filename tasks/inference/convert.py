"""Export a trained model to a folder in another program's format."""

from __future__ import annotations

from pathlib import Path

from tasks.inference.new_folder import new_folder
from tasks.runs.lookup import find_model
from tasks.vision.export.formats import Format, check_format, write_format


def export_model(store: str, model: str, folder: Path, kind: Format) -> list[str]:
    """Write a model of the store, or of a folder models/STAGE, to `folder`; return the names of its files.

    Raises:
        BadInput: there is no such model, the folder can't be written or is not empty, or the
            format's converter isn't installed.
    """
    check_format(kind)
    with new_folder(folder) as part:
        card, tensors = find_model(store, model)
        write_format(card, tensors, kind, part)
        return sorted(p.relative_to(part).as_posix() for p in part.rglob("*") if p.is_file())
