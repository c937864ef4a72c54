"""Decode one image file to a square RGB uint8 array."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as ExifTag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tasks.vision.data.image_files import HEAD_BYTES, sniff

MAX_PIXELS = 100_000_000

_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_MODES = {
    b"IHDR\x08\x00\0\0\0IDAT": "L",
    b"IHDR\x08\x02\0\0\0IDAT": "RGB",
}

# A fixed list: Pillow's own search includes formats that start other programs (EPS).
_READERS: dict[str, type[ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "PPM": PpmImageFile,
}

_NEW_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # tags of TIFF

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableError(ValueError):
    """A file is not an image that can be decoded; the message is the reason, in one line."""


def decode(data: bytes, image_size: int) -> np.ndarray:
    """Decode to (image_size, image_size, 3) uint8 RGB: upright, on white, cropped to the centre square.

    The pixels of an image that already has this size stay as they are.

    Raises:
        UnreadableError: the file is not an image, is damaged or is too large.
    """
    return np.array(decode_pil(data, image_size))


def fit(image: Image.Image, image_size: int) -> Image.Image:
    """Crop to the centre square and resize; unchanged if the image already has this size."""
    if image.size == (image_size, image_size):
        return image
    return ImageOps.fit(image, (image_size, image_size), Image.Resampling.LANCZOS)


def decode_pil(data: bytes, image_size: int) -> Image.Image:
    """As `decode`, as a Pillow image."""
    try:
        source = _plain_png(data) or _open(data, image_size)
        source.load()
        return fit(_upright(_rgb(source), source), image_size)
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes Pillow's readers raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(f"damaged image ({reason})") from error


def _open(data: bytes, image_size: int) -> Image.Image:
    kind = sniff(data[:HEAD_BYTES])
    if kind is None or kind.fault:
        raise UnreadableError(kind.fault if kind else f"not an image ({len(data)} bytes)")
    image = _READERS[kind.name](io.BytesIO(data))
    if isinstance(image, TiffImageFile) and (
        _DNG_VERSION in image.tag_v2 or image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 1
    ):  # DNG, NEF, ARW begin with a thumbnail
        raise UnreadableError("a raw photo can't be read; convert it to JPEG")
    width, height = image.size
    if width * height > MAX_PIXELS:  # the header alone has been read
        raise UnreadableError(f"{width} x {height} pixels, more than {MAX_PIXELS}")
    if min(width, height) >= 8 * image_size and isinstance(image, JpegImageFile):
        # libjpeg scales while it decodes: far faster, and still 4 times the final size or more.
        image.draft(None, (4 * image_size, 4 * image_size))
    return image


def _plain_png(data: bytes) -> Image.Image | None:
    """Read an 8-bit PNG of three chunks (IHDR, IDAT, IEND); None for all others.

    Pillow's own reader spends a third of a small image's time on its chunks.
    """
    mode = _PLAIN_MODES.get(data[12:16] + data[24:29] + data[37:41])
    if mode is None or not data.startswith(_PNG):
        return None
    width, height, idat = (int.from_bytes(data[at : at + 4]) for at in (16, 20, 33))
    if not 0 < width * height <= MAX_PIXELS or data[45 + idat : 53 + idat] != b"\0\0\0\0IEND":
        return None
    try:
        return Image.frombytes(mode, (width, height), data[41 : 41 + idat], "zip", (mode, 0))
    except ValueError:  # damaged: Pillow's reader will give the reason
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255, to white.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableError("32-bit samples, whose white is unknown")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    if not source.info:  # neither EXIF nor XMP; getexif alone would cost a twentieth of the time
        return image
    try:
        turn = _UPRIGHT.get(source.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # a broken EXIF block; the pixels are intact
        return image
    return image if turn is None else image.transpose(turn)
