"""One file: which names stand for an image, and the bytes behind one."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from tasks.vision.errors import BadInput
from tasks.vision.text import printable

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# Photos that nothing here reads. Of a raw one that begins as a TIFF, a thumbnail would be read.
PHOTO_SUFFIXES = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw")
MAX_FILE_BYTES = 64 * 2**20


def is_image(name: str) -> bool:
    """Whether a file name ends like an image's that can be read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def looks_like_image(name: str) -> bool:
    """Whether a file name ends like a picture's, one that can be read or not."""
    return name.lower().endswith((*IMAGE_SUFFIXES, *PHOTO_SUFFIXES))


def select_images(names: Iterable[str]) -> list[str]:
    """Names of pictures in one folder, sorted, without raw photos that lie there as JPEG or such too.

    >>> select_images(["b.JPG", "b.NEF", "a.heic", "notes.txt"])
    ['a.heic', 'b.JPG']
    """
    found = sorted(filter(looks_like_image, names))
    read = {name.rpartition(".")[0] for name in found if is_image(name)}
    return [name for name in found if is_image(name) or name.rpartition(".")[0] not in read]


def unsupported_format(name: str) -> str:
    """Why a photo can't be read whatever its bytes are; "" for all other names."""
    if not name.lower().endswith(PHOTO_SUFFIXES):
        return ""
    return f"{name.rpartition('.')[2].upper()} can't be read; convert it to JPEG"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over: systems leave such behind, nobody names data so."""
    return name.startswith(".") or name == "__MACOSX"


def read_file(path: str) -> bytes | str:
    """An image file's bytes, or why they can't be had; never raises."""
    if fault := unsupported_format(path):
        return fault
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each small file would double the time)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            return "not a file"
        if status.st_size > MAX_FILE_BYTES:
            return f"{status.st_size} bytes, more than {MAX_FILE_BYTES}"
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        return f"can't be read ({error.strerror or error})"


def file_digest(path: Path) -> str:
    """SHA-256, 64 hex characters, of a file; `BadInput` if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(
            f"{printable(path)} can't be read ({reason}); expected a whole file"
        ) from error
