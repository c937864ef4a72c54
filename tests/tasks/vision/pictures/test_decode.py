"""Decoding one image: every mode becomes upright RGB; unreadable files are named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from support.images import encoded, png, read, refused, same, small_set, write_folder

from tasks.vision.data.labelled import ImageSet
from tasks.vision.pictures import decode
from tasks.vision.pictures.fit import Fit


def solid(mode: str, value: Any, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new(mode, size, value)


def palette(transparent: bool) -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    if transparent:
        image.info["transparency"] = 1
    return image


def grey16(value: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8), value, np.uint16))


MODES: dict[str, tuple[bytes, tuple[int, int, int], int]] = {
    "grey": (encoded(solid("L", 77), "PNG"), (77, 77, 77), 0),
    "grey, transparent": (encoded(solid("L", 77), "PNG", transparency=77), (255, 255, 255), 0),
    "grey and alpha": (encoded(solid("LA", (100, 128)), "PNG"), (177, 177, 177), 1),
    "16-bit grey": (encoded(grey16(0x6480), "PNG"), (100, 100, 100), 0),
    "16-bit grey, dark": (encoded(grey16(0x0180), "PNG"), (1, 1, 1), 0),
    "16-bit grey TIFF": (encoded(grey16(0x6480), "TIFF"), (100, 100, 100), 0),
    "one bit": (encoded(solid("1", 1), "PNG"), (255, 255, 255), 0),
    "palette": (encoded(palette(False), "PNG"), (10, 200, 30), 0),
    "palette, transparent": (encoded(palette(True), "PNG"), (255, 255, 255), 0),
    "palette GIF": (encoded(palette(False), "GIF"), (10, 200, 30), 0),
    "RGB": (encoded(solid("RGB", (1, 2, 3)), "PNG"), (1, 2, 3), 0),
    "RGB, transparent": (
        encoded(solid("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        (255, 255, 255),
        0,
    ),
    "RGBA": (encoded(solid("RGBA", (200, 0, 0, 128)), "PNG"), (227, 127, 127), 1),
    "RGBA WebP": (
        encoded(solid("RGBA", (200, 0, 0, 128)), "WEBP", lossless=True),
        (227, 127, 127),
        1,
    ),
    "BMP": (encoded(solid("RGB", (1, 2, 3)), "BMP"), (1, 2, 3), 0),
    "CMYK": (encoded(solid("CMYK", (0, 255, 255, 0)), "JPEG"), (255, 0, 0), 3),
    "JPEG": (encoded(solid("RGB", (200, 30, 60)), "JPEG", quality=95), (200, 30, 60), 3),
    "grey JPEG": (encoded(solid("L", 77), "JPEG"), (77, 77, 77), 1),
    "large JPEG": (encoded(solid("RGB", (200, 30, 60), (900, 400)), "JPEG"), (200, 30, 60), 3),
}


@pytest.mark.parametrize("mode", MODES)
def test_decode_converts_every_mode_to_rgb(mode: str) -> None:
    data, expected, tolerance = MODES[mode]
    image = decode.decode(data, 8)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_applies_exif_orientation(kind: str, orientation: int) -> None:
    corners = np.zeros((2, 2, 3), np.uint8)
    corners[0, 0], corners[0, 1], corners[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    upright = Image.fromarray(corners.repeat(16, 0).repeat(16, 1))
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    image = decode.decode(encoded(stored, kind, exif=exif.tobytes(), **options), 32)
    error = np.abs(image.astype(int) - np.asarray(upright)).mean()
    assert error < 5, f"mean error {error}"


def test_decode_crops_to_the_centre_square() -> None:
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, 30:60] = 200
    for pixels in (wide, wide.transpose(1, 0, 2)):
        image = decode.decode(encoded(Image.fromarray(np.ascontiguousarray(pixels)), "PNG"), 10)
        assert image[2:8, 2:8].min() > 190


def test_decode_pads_to_a_square_of_the_mean_colour() -> None:
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, :45], wide[:, 45:] = (200, 40, 0), (100, 0, 60)
    for pixels in (wide, wide.transpose(1, 0, 2)):
        data = encoded(Image.fromarray(np.ascontiguousarray(pixels)), "PNG")
        image = decode.decode(data, 30, fit="pad")
        if pixels is not wide:
            image = image.transpose(1, 0, 2)
        assert (image[:10] == (150, 20, 30)).all()
        assert (image[20:] == (150, 20, 30)).all()
        assert (image[10:20, :12] == (200, 40, 0)).all()
        assert (image[10:20, 18:] == (100, 0, 60)).all()


def test_decode_stretches_to_a_square() -> None:
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, :45] = 200
    image = decode.decode(encoded(Image.fromarray(wide), "PNG"), 30, fit="stretch")
    assert image[:, :12].min() == 200
    assert image[:, 18:].max() == 0


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (7, 7), (24, 24), (24, 1)])
def test_decode_makes_squares_of_all_shapes(fit: Fit, size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, (9, 99, 199)), "PNG")
    assert (decode.decode(data, 24, fit=fit) == (9, 99, 199)).all()


def test_decode_scales_large_jpeg_as_well_as_from_all_pixels() -> None:
    pattern = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    photo = Image.fromarray(pattern).resize((512, 512), Image.Resampling.BICUBIC)
    data = encoded(photo, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(data))
    expected = np.asarray(ImageOps.fit(whole, (32, 32), Image.Resampling.LANCZOS)).astype(int)
    bilinear = np.asarray(ImageOps.fit(whole, (32, 32), Image.Resampling.BILINEAR)).astype(int)
    error = np.abs(decode.decode(data, 32) - expected).mean()
    assert error < np.abs(bilinear - expected).mean() / 4, "of detail that no photo has"


def detailed(size: tuple[int, int]) -> Image.Image:
    pattern = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    return Image.fromarray(pattern).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("size", "factor"), [((47, 71), 1), ((72, 96), 2), ((200, 152), 4)])
def test_decode_lets_libjpeg_scale_from_three_times_the_size_on(
    size: tuple[int, int], factor: int, fit: Fit
) -> None:
    data = encoded(detailed(size), "JPEG", quality=95, subsampling="4:2:0")
    scaled = Image.open(io.BytesIO(data))
    assert isinstance(scaled, JpegImageFile)
    scaled.draft(None, (scaled.width // factor, scaled.height // factor))
    assert scaled.width == size[0] // factor
    expected = np.asarray(decode.square(scaled, 24, fit))
    assert np.array_equal(decode.decode(data, 24, fit=fit), expected)


def test_a_large_picture_of_another_kind_is_reduced_first() -> None:
    photo = detailed((2600, 1700))
    seen = decode.decode(encoded(photo, "PNG", compress_level=1), 100).astype(int)
    whole = np.asarray(ImageOps.fit(photo, (100, 100), Image.Resampling.LANCZOS))
    assert 0 < np.abs(seen - whole).max() <= 2


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_what_libjpeg_scales_is_where_it_was(fit: Fit, orientation: int) -> None:
    """Its last column and row may reach beyond the picture, at its end or, turned, at its beginning."""
    photo = detailed((601, 401))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo, "JPEG", quality=95, exif=exif.tobytes())
    upright = photo if orientation == 1 else photo.transpose(Image.Transpose.ROTATE_270)
    error = decode.decode(data, 30, fit=fit) - np.asarray(decode.square(upright, 30, fit), int)
    assert np.abs(error).mean() < 2, "half a pixel of it would be 8 or more"


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_decode_reads_plain_png_as_pillow_does(mode: str) -> None:
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 9, (40, 40, 3)).cumsum(0).cumsum(1).astype(np.uint8)
    data = encoded(Image.fromarray(smooth).convert(mode), "PNG")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode.decode(data, 40), expected)


def huge_png(colour: int) -> bytes:
    """A well-formed PNG of a few bytes that claims 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file, not an image"),
    "text": (b"This is no image.", "not an image (17 bytes)"),
    "cut PNG": (png(1, (40, 40))[:-2000], "damaged image"),
    "cut plain PNG": (png(1)[:-60], "damaged image"),
    "damaged PNG": (png(1).replace(b"IDAT", b"IDAT\xff\xff"), "damaged image"),
    "header only": (png(1)[:20], "damaged image"),
    "huge RGB": (huge_png(2), "50000 x 50000 pixels"),
    "huge RGBA": (huge_png(6), "50000 x 50000 pixels"),
    "float": (encoded(Image.new("F", (8, 8), 0.5), "TIFF"), "32-bit"),
    "PostScript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        "PostScript can't be read",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_image_is_named_and_left_out(case: str, tmp_path: Path) -> None:
    data, reason = UNREADABLE[case]
    files = small_set()
    clean = read(write_folder(tmp_path / "clean", files))
    bad = "train/car/3a.png"
    path = write_folder(tmp_path / "set", files | {bad: data})
    found = read(path, max_unreadable=0.1)
    assert len(found.unreadable) == 1
    assert found.unreadable[0].startswith(f"{bad}: ")
    assert reason in found.unreadable[0]
    assert "\n" not in found.unreadable[0]
    assert same(ImageSet(found.classes, found.splits, []), clean)
    expected = (str(path), "1 of 14 images in train", bad, reason, "expected at most 0")
    refused(lambda: read(path, max_unreadable=0.0), *expected)
