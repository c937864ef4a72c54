"""Bounds of what one picture may take: pixels, and scans of a JPEG, by its header and its size."""

from __future__ import annotations

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

MAX_PIXELS = 100_000_000  # in memory, up to 9 bytes each
MAX_WEBP_PIXELS = 50_000_000  # 16 bytes each; of HEIC and AVIF no more
MAX_JPEG_PIXELS = 250_000_000  # before libjpeg scales them down
MAX_PROGRESSIVE_PIXELS = 160_000_000  # 6 bytes each, scaled down or not
FREE_PIXELS = 20_000_000  # for a file of any size ...
PIXELS_PER_BYTE = 1000  # ... and beyond: flat images of 8 bits stay below it
MAX_SCAN_PIXELS = 2_000_000_000  # of a progressive JPEG, all scans together: seconds
LEAST_SCAN_PIXELS = 10_000_000  # as many for each scan, or more: at most 200 scans
MAX_PYTHON_PIXELS = 4_000_000  # of a PPM that Pillow reads in Python

_MOST = {
    "JPEG": MAX_JPEG_PIXELS,
    "WEBP": MAX_WEBP_PIXELS,
    "AVIF": MAX_WEBP_PIXELS,
    "HEIF": MAX_WEBP_PIXELS,
}


class UnreadableError(ValueError):
    """A file is not an image that can be decoded; the message is the reason, in one line."""


def check_size(image: ImageFile, data: bytes) -> None:
    """Refuse what would take too much memory or time; only the header has been read.

    Raises:
        UnreadableError: it would.
    """
    width, height = image.size
    pixels = width * height
    most = _MOST.get(image.format or "", MAX_PIXELS)
    if isinstance(image, JpegImageFile) and _has_scans(image, data):
        most = MAX_PROGRESSIVE_PIXELS
        scans = data.count(b"\xff\xda")
        if scans * max(pixels, LEAST_SCAN_PIXELS) > MAX_SCAN_PIXELS:
            raise UnreadableError(f"damaged image ({scans} scans of {width} x {height} pixels)")
    if image.format == "PPM" and image.tile[0].codec_name != "raw":
        most = MAX_PYTHON_PIXELS
    if pixels > most:
        raise UnreadableError(f"{width} x {height} pixels, more than {most}")
    if pixels > FREE_PIXELS + PIXELS_PER_BYTE * len(data):
        raise UnreadableError(f"damaged image ({width} x {height} pixels in {len(data)} bytes)")


def _has_scans(image: JpegImageFile, data: bytes) -> bool:
    """True unless a single scan holds everything; libjpeg reads no second one then."""
    assert image.fp
    length = 6 + 2 * image.layers  # of the header of such a scan, which has just been read
    scan = b"\xff\xda" + length.to_bytes(2)
    return "progressive" in image.info or not data.startswith(scan, image.fp.tell() - length - 2)
