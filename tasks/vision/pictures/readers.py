"""Open a picture of a kind that can be read: its header, before anything is decoded."""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tasks.vision.pictures.kinds import HEAD_BYTES, sniff
from tasks.vision.pictures.limits import UnreadableError
from tasks.vision.pictures.tiff import Tiff

# A fixed list: Pillow's own search includes formats that start other programs (EPS).
_READERS: dict[str, type[ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": Tiff,
    "PPM": PpmImageFile,
    "AVIF": AvifImageFile,
}


def kind_of(data: bytes) -> str:
    """The name of a picture's kind in `kinds`.

    Raises:
        UnreadableError: it is no picture, or of a kind that can't be read here.
    """
    kind = sniff(data[:HEAD_BYTES])
    if kind is None or kind.fault:
        raise UnreadableError(kind.fault if kind else f"not an image ({len(data)} bytes)")
    return kind.name


def open_picture(kind: str, data: bytes) -> ImageFile:
    """Read the header of a picture of this kind; on damaged ones Pillow's readers raise nearly anything."""
    if kind == "HEIC":
        from pillow_heif import HeifImageFile

        return HeifImageFile(io.BytesIO(data))
    if kind == "AVIF" and not features.check("avif"):
        raise UnreadableError("AVIF can't be read by this build of Pillow; convert it to JPEG")
    return _READERS[kind](io.BytesIO(data))


class Header(NamedTuple):
    """What a picture's header says: its kind and mode, and its size in pixels."""

    kind: str
    mode: str
    width: int
    height: int


def read_header(file: bytes | str) -> Header | None:
    """Read the header of a picture's file; None if it is damaged, or an error instead of bytes."""
    if isinstance(file, str):
        return None
    try:
        kind = kind_of(file)
        picture = open_picture(kind, file)
        return Header(kind, picture.mode, *picture.size)
    except Exception:  # Pillow's readers raise nearly anything on damaged bytes
        return None
