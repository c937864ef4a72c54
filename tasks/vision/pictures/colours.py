"""Convert a picture of any mode to 8-bit sRGB: deep samples, transparency, colour profiles."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

SAME = 4  # of 255: profiles that change no colour by more are sRGB, written by other programs
DEPTHS = (8, 10, 12, 14, 16)  # bits of microscopes and cameras, in samples of 16


def depth_of(value: int) -> int:
    """The smallest usual number of bits that holds a value.

    >>> depth_of(255), depth_of(256), depth_of(4095), depth_of(65535)
    (8, 10, 12, 16)
    """
    return next(depth for depth in DEPTHS if value < 1 << depth)


def eight_bits(samples: np.ndarray, bits: int) -> np.ndarray:
    """Scale uint16 samples of so many bits to uint8; larger ones become white."""
    return (np.minimum(samples, (1 << bits) - 1) >> (bits - 8)).astype(np.uint8)


def flatten(image: Image.Image) -> tuple[Image.Image, str]:
    """Return an 8-bit image as RGB on white, and what is odd about it or "".

    A transparency that hides a whole picture is none: programs that know no alpha leave it at 0.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, ""
    if not image.has_transparency_data:
        return image.convert("RGB"), ""
    # Without needless copies: they are as large as the image.
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    if image.getchannel("A").getextrema() == (0, 0):
        opaque = image.convert("RGB")
        if opaque.getcolors(1) is None:  # else nothing is lost
            return opaque, "its transparency hides everything and was ignored"
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white, ""


def srgb_transform(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The conversion of an image's colours to sRGB; None if it has no profile, that of sRGB or a broken one."""
    profile = image.info.get("icc_profile")
    if not profile or not isinstance(profile, bytes):
        return None
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16")
    return _transform(profile, "CMYK" if image.mode == "CMYK" else "L" if grey else "RGB")


@lru_cache(64)  # the photos of one camera share theirs
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        found = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # broken, or of another mode
        return None
    if mode != "CMYK":
        rgb = np.indices((9, 9, 9)).reshape(3, 27, 27).transpose(1, 2, 0) * 255 // 8
        lattice = (
            Image.linear_gradient("L") if mode == "L" else Image.fromarray(rgb.astype(np.uint8))
        )
        before = np.asarray(lattice.convert("RGB")).astype(int)
        if np.abs(before - np.asarray(found.apply(lattice))).max() <= SAME:
            return None
    return found
