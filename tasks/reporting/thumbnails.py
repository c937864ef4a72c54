"""Pictures on a page as data URIs, as small as what is shown of them."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass

from PIL import Image

FEW_PIXELS = (
    32  # per side, up to which a picture stays as it is: JPEG would save nothing, and blur it
)


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a data URI; `few_pixels` if they are so few that a page shows each as a square."""

    uri: str
    few_pixels: bool = False


def thumbnail(picture: Image.Image, side: int) -> Thumbnail:
    """Return a picture at most `side` pixels wide and high: as PNG if it is tiny, else as JPEG."""
    if max(picture.size) <= FEW_PIXELS:
        return Thumbnail(_uri(picture, "PNG", optimize=True), few_pixels=True)
    small = picture.copy()
    small.thumbnail((side, side))
    return Thumbnail(_uri(small, "JPEG", quality=85))


def _uri(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(buffer.getvalue()).decode()}"
