"""Image files: which names count as one, and reading their bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from tasks.vision.errors import BadInput
from tasks.vision.pictures.kinds import HEAD_BYTES, sniff
from tasks.vision.text import printable

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
UNSUPPORTED_SUFFIXES = (".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw")
MAX_FILE_BYTES = 64 * 2**20
_SALT = b"relevo split"  # with another one all data would be divided in another way


def is_image(name: str) -> bool:
    """True if the name ends as a supported image's."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def looks_like_image(name: str) -> bool:
    """True if the name ends as an image's, of a supported format or not."""
    return name.lower().endswith((*IMAGE_SUFFIXES, *UNSUPPORTED_SUFFIXES))


def may_be_image(name: str) -> bool:
    """True if the name ends as an image's, or has no ending, as pictures in a bucket often do."""
    return looks_like_image(name) or "." not in name.rpartition("/")[2]


def is_hidden(name: str) -> bool:
    """True for files and folders that operating systems leave behind; they are skipped."""
    return name.startswith(".") or name == "__MACOSX"


def read_file(path: str) -> bytes | str:
    """Return an image file's bytes, or the reason why it can't be read; never raises."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each small file would double the time)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            return "not a file"
        if status.st_size > MAX_FILE_BYTES:
            return f"{status.st_size} bytes, more than {MAX_FILE_BYTES}"
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            head = file.read(HEAD_BYTES)
            kind = sniff(head)
            # A video or a raw photo is large, and its first bytes say enough.
            return kind.fault if kind and kind.fault else head + file.read()
    except OSError as error:
        return f"can't be read ({error.strerror or error})"


def content_hash(content: bytes | str) -> bytes:
    """The hash of a picture's file, 16 bytes, which also decides its split; or of why it can't be read."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=16, key=_SALT).digest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex characters; `BadInput` if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(
            f"{printable(path)} can't be read ({reason}); expected a whole file"
        ) from error
