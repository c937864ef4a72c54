"""Read the pixels of a picture of any kind, within bounds of time and memory.

What every viewer passes over is mended: metadata of PNGs that Pillow refuses, a JPEG without its end.
"""

from __future__ import annotations

import threading
import zlib
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PpmImagePlugin import PpmImageFile

from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.pictures.limits import FREE_PIXELS, MAX_PIXELS, UnreadableError, check_size
from tasks.vision.pictures.readers import kind_of, open_picture
from tasks.vision.pictures.tiff import Tiff

MAX_PROFILE_BYTES = 16 * 2**20

# Pixels a side that libjpeg's scaling leaves for one of the result. Sharp photos then differ by 1 to 2 of 255
# from those scaled of all pixels, half as much as bilinear from Lanczos scaling; with 1.0 by as much as that.
MARGIN = 1.5

LARGE_PIXELS = 32_000_000
large_lock: AbstractContextManager[object] = threading.RLock()  # one large picture at a time

_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_MODES = {b"IHDR\x08\x00\0\0\0IDAT": "L", b"IHDR\x08\x02\0\0\0IDAT": "RGB"}
_PNG_METADATA = (b"acTL", b"fcTL", b"fdAT", b"eXIf", b"sBIT")  # beside what pixels depend on


class Pixels(NamedTuple):
    """A picture's first frame, loaded.

    Attributes:
        image: in Pillow's mode for it. odd: what is odd about it, or "".
        deep: its samples have 16 bits; images of colours hold the upper 8 of each.
        bits: how many of them are used, 0 if the file doesn't say.
        extent: width and height of what libjpeg has scaled down, in pixels of `image`, whose last column
            and row may reach beyond; None if it hasn't.
    """

    image: Image.Image
    odd: str = ""
    deep: bool = False
    bits: int = 0
    extent: tuple[float, float] | None = None


def plain_png(data: bytes) -> Image.Image | None:
    """Read an 8-bit PNG of three chunks (IHDR, IDAT, IEND); None for all others.

    Pillow's own reader spends a third of a small image's time on its chunks.
    """
    mode = _PLAIN_MODES.get(data[12:16] + data[24:29] + data[37:41])
    if mode is None or not data.startswith(_PNG):
        return None
    width, height, idat = (int.from_bytes(data[at : at + 4]) for at in (16, 20, 33))
    if not 0 < width * height <= FREE_PIXELS or data[45 + idat : 53 + idat] != b"\0\0\0\0IEND":
        return None
    try:
        return Image.frombytes(mode, (width, height), data[41 : 41 + idat], "zip", (mode, 0))
    except ValueError:  # damaged: Pillow's reader will say how
        return None


def read_pixels(data: bytes, image_size: int, locks: ExitStack, fit: Fit = CROP) -> Pixels:
    """Read a picture. Large JPEGs are scaled down, with `MARGIN` for a square of `image_size` pixels a side.

    Args:
        locks: holds `large_lock` for a picture that is still large; to be closed with the picture.

    Raises:
        UnreadableError: the file is no image, damaged or too large.
    """
    kind = kind_of(data)
    try:
        return _read(kind, data, image_size, locks, fit)
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes Pillow's readers raise nearly anything
        mended = _repaired(kind, data, image_size, locks, fit)
        if mended is None:
            raise damage(error) from error
        return mended


def _read(kind: str, data: bytes, image_size: int, locks: ExitStack, fit: Fit) -> Pixels:
    image = open_picture(kind, data)
    check_size(image, data)
    extent = _scale_jpeg(image, image_size, fit) if isinstance(image, JpegImageFile) else None
    if image.size[0] * image.size[1] > LARGE_PIXELS:
        locks.enter_context(large_lock)
    deep = ";16" in _rawmode(image) or image.mode.startswith("I;16")
    image.load()
    if isinstance(image, Tiff):
        return Pixels(image.upright_tones(), "", deep, image.bits)
    if isinstance(image, PpmImageFile) and image.mode == "I":  # Pillow has scaled it to 16 bits
        return Pixels(Image.fromarray(np.asarray(image).astype(np.uint16)), "", True, 16)
    return Pixels(image, "", deep, extent=extent)


def damage(error: Exception) -> UnreadableError:
    """The error for a picture on which Pillow raised `error`."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if reason == "unknown pixel mode":  # Pillow's only word for a TIFF that it doesn't know
        return UnreadableError("TIFF of such samples can't be read; convert it to PNG")
    return UnreadableError(f"damaged image ({reason})")


def _rawmode(image: ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str((args or ("",))[0])


def _scale_jpeg(image: JpegImageFile, image_size: int, fit: Fit) -> tuple[float, float] | None:
    """Let libjpeg scale to a half, a quarter or an eighth while it decodes; return `Pixels.extent`."""
    width, height = image.size
    side = max(image.size) if fit == "pad" else min(image.size)
    times = int(side / (MARGIN * image_size))
    scaled = None
    if times >= 2:
        scaled = image.draft(None, (max(1, width // times), max(1, height // times)))
    elif width * height > MAX_PIXELS:
        scaled = image.draft(None, (image_size, image_size))
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise UnreadableError(f"{width} x {height} pixels, more than {MAX_PIXELS}")
    return scaled[1][2:] if scaled and image.size != (width, height) else None


def low_bytes(data: bytes) -> Image.Image:
    """The lower bytes of 16-bit colours, of which `read_pixels` returns the upper.

    Raises:
        UnreadableError: Pillow can't read them.
    """
    image = open_picture(kind_of(data), data)
    raw = _rawmode(image)
    other = {"L": "B", "B": "L", "N": "B"}.get(raw[-1:], "")
    if not raw.startswith("RGB") or (isinstance(image, Tiff) and image.in_planes):
        raise UnreadableError(f"dark 16-bit samples ({image.mode}); convert it to 8 bits")
    swapped = raw[:-1] + other
    image.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        for tile in image.tile
    ]
    image.load()
    return image


def _repaired(kind: str, data: bytes, image_size: int, locks: ExitStack, fit: Fit) -> Pixels | None:
    with suppress(Exception):  # the first error says more
        if kind == "PNG":
            bare, profile = _without_metadata(data)
            pixels = _read(kind, bare, image_size, locks, fit)
            pixels.image.info["icc_profile"] = profile
            return pixels
        if kind == "JPEG":
            # Whatever follows changes no pixel if all are there.
            start = data.rstrip(b"\xff")
            ends = (b"\xff\xd9", b"\x5a\xa5" * 32 + b"\xff\xd9")
            one, other = (_read(kind, start + end, image_size, locks, fit) for end in ends)
            if one.image.tobytes() == other.image.tobytes():
                return one._replace(odd="its end is missing")
    return None


def _without_metadata(data: bytes) -> tuple[bytes, bytes | None]:
    """Return a PNG with nothing but what its pixels depend on, and its colour profile."""
    chunks, profile, at = [_PNG], None, len(_PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : end - 4]
        intact = zlib.crc32(kind + content).to_bytes(4) == data[end - 4 : end]
        if not kind[0] & 32 or kind == b"tRNS" or (intact and kind in _PNG_METADATA):
            chunks.append(data[at:end])
        elif intact and kind == b"iCCP":
            packed = content[content.index(b"\0") + 2 :]
            profile = zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES)
        at = end
    return b"".join(chunks), profile
