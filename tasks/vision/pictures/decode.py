"""Decode one image file to a square RGB uint8 array: the only place where files become pixels.

`readers` opens the file, and `pixels` decodes it, with libjpeg's scaling for large JPEGs. This module and those
that it imports need nothing but Pillow and NumPy: exports carry a copy of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as ExifTag

from tasks.vision.pictures.colours import depth_of, eight_bits, flatten, srgb_transform
from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.pictures.limits import UnreadableError
from tasks.vision.pictures.pixels import Pixels, damage, low_bytes, plain_png, read_pixels

# A larger image is reduced by averaging before it is resized: for 224 pixels 13 ms in place of 72, and no value
# differs by more than 2. By larger steps, Pillow's rounding would darken white.
LARGE = 4_000_000  # pixels
REDUCING_GAP = 3.0  # times the size that are left
MOST_REDUCED = 32  # pixels a side that become one

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """A decoded picture.

    Attributes:
        image: RGB. odd: what is odd about the file, or "".
        depth: how many bits its largest sample has, of 16; 0 for 8-bit pictures and where the file says it.
    """

    image: Image.Image
    odd: str = ""
    depth: int = 0


def decode(data: bytes, image_size: int, bits: int = 16, fit: Fit = CROP) -> np.ndarray:
    """Decode to (image_size, image_size, 3) uint8 RGB: upright, sRGB, on white.

    The pixels of an 8-bit image that already has this size stay as they are.

    Args:
        bits: how many bits 16-bit samples use, where the file doesn't say.
        fit: how a picture becomes a square: "crop" takes the one in its centre, "pad" adds its mean colour
            on two sides, "stretch" changes its proportions.

    Raises:
        UnreadableError: the file is not an image, is damaged or is too large.
    """
    return np.array(decode_picture(data, image_size, bits, fit).image)


def square(image: Image.Image, image_size: int, fit: Fit = CROP) -> Image.Image:
    """Make an RGB image a square of this size; unchanged if it is one already."""
    return _pad(_scale(image, image_size, fit), image_size)


def _scale(
    image: Image.Image, image_size: int, fit: Fit, extent: tuple[float, float] | None = None
) -> Image.Image:
    """Scale to a square of `image_size` pixels a side, or to fit into it if it will be padded."""
    square = (image_size, image_size)
    if image.size == square:
        return image
    width, height = extent or image.size
    box, inside = (0.0, 0.0, width, height), square
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    elif fit == "pad":
        longer = max(width, height)
        inside = (
            max(1, round(width * image_size / longer)),
            max(1, round(height * image_size / longer)),
        )
    gap = None
    if image.width * image.height > LARGE:
        gap = max(REDUCING_GAP, max(width, height) / (image_size * MOST_REDUCED))
    return image.resize(inside, Image.Resampling.LANCZOS, box, gap)


def _pad(image: Image.Image, image_size: int) -> Image.Image:
    """Centre an RGB image on a square of its mean colour.

    Beside it, a black border would be an edge that no photo has, and a repeated one a pattern.
    """
    if image.size == (image_size, image_size):
        return image
    red, green, blue = (round(mean) for mean in np.asarray(image).mean((0, 1)).tolist())
    whole = Image.new("RGB", (image_size, image_size), (red, green, blue))
    whole.paste(image, ((image_size - image.width) // 2, (image_size - image.height) // 2))
    return whole


def decode_picture(data: bytes, image_size: int, bits: int = 16, fit: Fit = CROP) -> Decoded:
    """As `decode`, as a Pillow image with what is odd about it."""
    if plain := plain_png(data):
        rgb = plain if plain.mode == "RGB" else plain.convert("RGB")
        return Decoded(square(rgb, image_size, fit))
    with ExitStack() as locks:
        pixels = read_pixels(data, image_size, locks, fit)
        try:
            return _convert(data, pixels, image_size, bits, fit)
        except (UnreadableError, MemoryError):
            raise
        except Exception as error:
            raise damage(error) from error


def _convert(data: bytes, pixels: Pixels, image_size: int, bits: int, fit: Fit) -> Decoded:
    source, image, odd, depth = pixels.image, pixels.image, pixels.odd, 0
    if source.mode in ("I", "F"):
        raise UnreadableError("32-bit samples, whose white is unknown")
    if pixels.deep:
        image, depth = _eight_bits(data, pixels, bits)
    transform = srgb_transform(source)
    if not (transform and image.mode == "CMYK"):
        image, hidden = flatten(image)
        odd = odd or hidden
    if pixels.extent:
        image = _upright(_scale(image, image_size, fit, pixels.extent), source)
    else:
        image = _scale(_upright(image, source), image_size, fit)
    if transform:  # after scaling, of few pixels
        image = transform.apply(image.convert(transform.input_mode))
    return Decoded(_pad(image, image_size), odd, depth)


def _eight_bits(data: bytes, pixels: Pixels, bits: int) -> tuple[Image.Image, int]:
    """Return 16-bit samples as 8-bit ones, and the depth of the largest (0 if it is given)."""
    image, bits = pixels.image, pixels.bits or bits
    if image.mode.startswith("I;16"):
        samples = np.asarray(image)
        depth = 0 if pixels.bits else depth_of(int(samples.max()))
        return Image.fromarray(eight_bits(samples, bits)), depth
    upper = np.asarray(image)  # Pillow reads the upper bytes of colours
    colours = upper[..., :3] if image.mode == "RGBA" else upper
    depth = 0 if pixels.bits else depth_of(int(colours.max()) << 8 | 255)
    if bits == 16:
        return image, depth
    samples = colours.astype(np.uint16) << 8 | np.asarray(low_bytes(data))[..., :3]
    scaled = Image.fromarray(eight_bits(samples, bits))
    if image.mode == "RGBA":
        scaled.putalpha(image.getchannel("A"))
    return scaled, depth


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    if not source.info:  # neither EXIF nor XMP; getexif alone would cost a twentieth of the time
        return image
    try:
        upright = _UPRIGHT.get(source.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # a broken EXIF block; the pixels are intact
        return image
    return image if upright is None else image.transpose(upright)
