"""What a file is by its first bytes: a picture that can be read, one that can't, or something else."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec

HEAD_BYTES = 256  # of a file, enough for `sniff`


@dataclass(frozen=True)
class Kind:
    """What a file is by its first bytes.

    Attributes:
        name: of the format ("PNG", "HEIC"), or what it is instead ("a PDF").
        picture: True for formats of pictures, whether or not they can be read.
        fault: why it can't be read, in one line; "" if `decode` reads this kind.
        needs: the module, beside Pillow, that reads it.
    """

    name: str
    picture: bool = True
    fault: str = ""
    needs: str = ""


def _unsupported(name: str) -> Kind:
    return Kind(name, fault=f"{name} can't be read; convert it to JPEG")


def _other(name: str, mend: str = "") -> Kind:
    return Kind(name, picture=False, fault=f"{name}, not an image{mend and '; '}{mend}")


_HEIC = Kind("HEIC", needs="pillow_heif")
_BOX = rb"(?s)....ftyp(?:.{4})*?"  # ISO media: the first known brand, the main one or a compatible
_KINDS = [
    (re.compile(pattern), kind)
    for pattern, kind in (
        (rb"\x89PNG\r\n\x1a\n", Kind("PNG")),
        (rb"\xff\xd8\xff", Kind("JPEG")),
        (rb"(?s)RIFF.{4}WEBP", Kind("WebP")),
        (rb"GIF8[79]a", Kind("GIF")),
        (rb"(?s)BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", Kind("BMP")),
        (rb"(?s)II\*\0.{4}CR", _unsupported("CR2")),
        (rb"II[*+]\0|MM\0[*+]", Kind("TIFF")),
        (rb"P[1-6]\s+[#\d]", Kind("PPM")),
        (_BOX + rb"(?:hei[cxms]|hev[cxms])", _HEIC),
        (_BOX + rb"avi[fs]", Kind("AVIF")),
        (_BOX + rb"crx ", _unsupported("CR3")),
        (_BOX + rb"mif1", _HEIC),
        (rb"(?s)....ftyp", _other("a video")),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", _unsupported("JPEG XL")),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", _unsupported("JPEG 2000")),
        (rb"FUJIFILMCCD-RAW|IIU\0|IIR[OS]|MMOR", _unsupported("a raw photo")),
        (rb"8BPS", _unsupported("PSD")),
        (rb"gimp xcf", _unsupported("XCF")),
        (rb"\x76\x2f\x31\x01", _unsupported("OpenEXR")),
        (rb"\0\0[\x01\x02]\0[^\0]\0", _unsupported("ICO")),
        (rb"SIMPLE  =", _unsupported("FITS")),
        (rb"(?s).{128}DICM", _unsupported("DICOM")),
        (rb"(?is)[^<]{0,16}(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg", _unsupported("SVG")),
        (rb"%!PS|\xc5\xd0\xd3\xc6", _unsupported("PostScript")),
        (rb"%PDF", _other("a PDF")),
        (
            rb"(?is)(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)",
            _other("an HTML page", "download the image itself"),
        ),
        (rb"version https://git-lfs", _other("a Git LFS pointer", "run git lfs pull")),
        (rb"(?s)RIFF.{4}AVI |\x1aE\xdf\xa3", _other("a video")),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", _other("an archive", "unpack it")),
        (rb"\Z", _other("an empty file")),
    )
]


def sniff(head: bytes) -> Kind | None:
    """What a file is by its first `HEAD_BYTES`, whatever its name; None if that is unknown.

    Unknown files are no pictures that could be read. Formats without a signature (TGA) are among them.
    A raw photo may begin as a TIFF (DNG, NEF, ARW); `decode` refuses those.

    >>> sniff(b"\\xff\\xd8\\xff\\xe0").name, sniff(b"8BPS").fault
    ('JPEG', "PSD can't be read; convert it to JPEG")
    >>> sniff(b"<!DOCTYPE html><title>Not found</title>").picture
    False
    """
    found = next((kind for pattern, kind in _KINDS if pattern.match(head)), None)
    if found and found.needs and find_spec(found.needs) is None:
        package = found.needs.replace("_", "-")
        fault = f"{found.name} can't be read without {package}; install that, or convert it to JPEG"
        return replace(found, fault=fault)
    return found
