"""Pictures as cameras, scanners, phones and damage leave them have the colours that are meant."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.images import encoded
from support.pictures import (
    ADOBE_RGB,
    DISPLAY_P3,
    PNG,
    SRGB,
    chunk,
    deep,
    every_kind,
    grey_profile,
    photo,
    png16,
    profile,
    scans,
    see_through,
    tiff,
    with_chunks,
)

from tasks.vision.pictures.decode import decode, decode_picture
from tasks.vision.pictures.limits import UnreadableError


def pixels(data: bytes, size: int = 16, **options: Any) -> np.ndarray:
    return decode(data, size, **options).astype(int)


def refusal(data: bytes) -> str:
    with pytest.raises(UnreadableError) as caught:
        decode(data, 16)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("bands", [3, 4])
def test_16_bit_colours_of_a_tiff(bands: int, planes: bool, big: bool, packed: bool) -> None:
    samples = deep(16, bands)
    if bands == 4:
        samples[..., 3] = 65535
    tags = {338: [2]} if bands == 4 else {}
    data = tiff(samples, 2, tags, planes=planes, big=big, packed=packed)
    assert (pixels(data) == samples[..., :3] >> 8).all()


def test_grey_tiff_of_which_0_is_white_is_no_negative() -> None:
    samples = deep(16, 1)
    for big, packed in itertools.product((False, True), repeat=2):
        black, white = (tiff(samples, zero, big=big, packed=packed) for zero in (1, 0))
        assert (pixels(black)[..., :1] == samples >> 8).all()
        assert (pixels(white)[..., :1] == 65535 - samples >> 8).all()
    small = (samples >> 8).astype(np.uint8)
    assert (pixels(tiff(small, 0))[..., :1] == 255 - small).all()
    assert "can't be read; convert it to PNG" in refusal(tiff(deep(16, 2), 2))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_samples_are_scaled_by_the_bits_that_are_used(channels: int, bits: int) -> None:
    samples = deep(bits, channels)
    files = {"PNG": png16(samples)}
    if channels != 4:
        photometric = 1 if channels == 1 else 2
        for big in (False, True):
            files[f"TIFF {big}"] = tiff(samples, photometric, big=big)
            files[f"packed TIFF {big}"] = tiff(samples, photometric, big=big, packed=True)
    for name, data in files.items():
        decoded = decode_picture(data, 16, bits)
        assert decoded.depth == bits, name
        if channels != 4:
            assert (np.asarray(decoded.image) == samples >> (bits - 8)).all(), name
            assert pixels(data, bits=bits).max() == 255
            assert (pixels(data) == samples >> 8).all(), "16 bits, unless it is said"


def test_what_is_brighter_than_the_bits_that_are_used_is_white() -> None:
    samples = deep(16, 1)
    assert (pixels(png16(samples), bits=12)[..., :1] == np.minimum(samples, 4095) >> 4).all()


def test_a_file_that_says_its_bits_is_believed() -> None:
    samples = deep(12, 1)
    flat = samples.reshape(-1, 2).astype(int)
    a, b = flat[:, 0], flat[:, 1]
    packed = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8)
    data = tiff(packed.reshape(16, 24, 1), 1, {256: [16], 258: [12]})
    decoded = decode_picture(data, 16, 16)
    assert decoded.depth == 0
    assert (np.asarray(decoded.image)[..., :1] == samples >> 4).all()
    values = (samples >> 8 << 8).astype(">u2").tobytes()
    pgm = decode_picture(b"P5\n16 16\n4095\n" + values, 16)
    assert pgm.depth == 0
    assert np.asarray(pgm.image).max() == 240


def test_dark_samples_that_pillow_can_not_read_are_refused_by_name() -> None:
    for data in (png16(deep(12, 2)), tiff(deep(12), 2, planes=True)):
        with pytest.raises(UnreadableError, match=r"dark 16-bit samples .*; convert it to 8 bits"):
            decode(data, 16, bits=12)


@pytest.mark.parametrize("deep_samples", [False, True])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("extra", [[], [0]])
def test_infrared_is_no_alpha(extra: list[int], planes: bool, deep_samples: bool) -> None:
    rgb = np.asarray(photo(1, (16, 16)))
    infrared = np.asarray(photo(2, (16, 16)).convert("L"))[..., None]
    samples = np.concatenate([rgb, infrared], 2)
    if deep_samples:
        samples = samples.astype(np.uint16) * 257
    data = tiff(samples, 2, {338: extra} if extra else {}, planes=planes)
    assert (pixels(data) == rgb).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_that_hides_everything_is_none(kind: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    hidden = see_through(0)
    decoded = decode_picture(encoded(hidden, kind, **options), 16)
    assert decoded.odd == "its transparency hides everything and was ignored"
    opaque = decode_picture(encoded(hidden.convert("RGB"), "PNG"), 16)
    assert (np.asarray(decoded.image) == np.asarray(opaque.image)).all()
    assert not opaque.odd
    blank = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert (pixels(encoded(blank, kind, **options)) == 255).all()
    assert not decode_picture(encoded(see_through(), kind, **options), 16).odd


def linear(values: np.ndarray) -> np.ndarray:
    x = values / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def to_srgb(rgb: np.ndarray, primaries: Any) -> np.ndarray:
    light = linear(rgb) @ np.array(primaries) @ np.linalg.inv(np.array(SRGB))
    light = light.clip(0, 1)
    x = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return x * 255


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB])
def test_wide_colours_are_converted(primaries: Any, kind: str) -> None:
    image = photo(3, (16, 16))
    every: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    options = every.get(kind, {})
    data = encoded(image, kind, icc_profile=profile(primaries), **options)
    expected = to_srgb(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), primaries)
    assert np.abs(pixels(data) - expected).max() < 3
    assert np.abs(expected - np.asarray(image)).max() > 20, "else the test says nothing"


def test_profiles_of_srgb_change_no_pixel() -> None:
    image = photo(3, (16, 16))
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (profile(SRGB), own, b"no profile", b"", grey_profile(1.8)):
        assert (pixels(encoded(image, "PNG", icc_profile=icc)) == np.asarray(image)).all()


def test_greys_and_inks_have_profiles_too() -> None:
    grey = Image.linear_gradient("L").resize((16, 16))
    light = (np.asarray(grey) / 255) ** 1.8
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    seen = pixels(encoded(grey, "PNG", icc_profile=grey_profile(1.8)))
    assert np.abs(seen[..., 0] - expected)[light > 0.01].max() < 3
    inks = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", icc_profile=b"broken")
    assert np.abs(pixels(inks) - (255, 0, 0)).max() <= 3


def test_photo_of_108_megapixels_is_read() -> None:
    data = encoded(Image.new("RGB", (12_000, 9_000), (200, 30, 60)), "JPEG")
    for size in (16, 1_200):
        assert np.abs(pixels(data, size)[::100, ::100] - (200, 30, 60)).max() <= 3


def test_metadata_of_a_png_never_costs_its_pixels() -> None:
    plain = encoded(photo(4), "PNG")
    large = np.random.default_rng(0).integers(97, 123, 3_000_000, np.uint8).tobytes()
    icc = profile(DISPLAY_P3, padding=2_000_000)
    texts = [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(large)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(large)),
        chunk(b"tEXt", b"Comment\0 a checksum", intact=False),
        chunk(b"tIME", b"\0\0", intact=False),
        chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(profile(SRGB, padding=2_000_000))),
        chunk(b"iCCP", b"broken\0\0" + b"no zlib"),
    ]
    for each in texts:
        assert (pixels(with_chunks(plain, each)) == pixels(plain)).all(), each[4:40]
        late = plain[:-12] + each + plain[-12:]
        assert (pixels(late) == pixels(plain)).all(), each[4:40]
    wide = with_chunks(plain, chunk(b"iCCP", b"P3\0\0" + zlib.compress(icc)), texts[2])
    small = encoded(photo(4), "PNG", icc_profile=profile(DISPLAY_P3))
    assert (pixels(wide) == pixels(small)).all()
    turned = with_chunks(encoded(photo(4), "PNG", exif=bytes_of_exif(6)), texts[0])
    upright = encoded(photo(4).transpose(Image.Transpose.ROTATE_270), "PNG")
    assert (pixels(turned) == pixels(upright)).all()
    broken = plain.replace(b"IDAT", b"IDAT\xff\xff")
    assert refusal(broken).startswith("damaged image")
    bad_header = PNG + chunk(b"IHDR", plain[16:29], intact=False) + plain[33:]
    assert refusal(with_chunks(bad_header, texts[2])).startswith("damaged image")


def bytes_of_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_without_its_end_is_read_and_said(mode: str, progressive: bool) -> None:
    whole = encoded(photo(5, (64, 64)).convert(mode), "JPEG", progressive=progressive)
    assert whole.endswith(b"\xff\xd9")
    for size in (4, 16):
        for cut in (whole[:-2], whole[:-1]):
            decoded = decode_picture(cut, size)
            assert decoded.odd == "its end is missing"
            assert (np.asarray(decoded.image) == decode(whole, size)).all()
    for cut in (whole[:-40], whole[: len(whole) // 2], whole[:200]):
        assert refusal(cut).startswith("damaged image")


def test_scans_of_a_jpeg_are_bounded() -> None:
    large = encoded(Image.new("RGB", (3_000, 3_000), "red"), "JPEG", progressive=True)
    small = encoded(photo(6), "JPEG", progressive=True)
    for bomb in (scans(large, 1_000), scans(small, 100_000)):
        start = time.monotonic()
        assert refusal(bomb).startswith("damaged image (1")
        assert time.monotonic() - start < 1
    assert np.abs(pixels(scans(small, 20)) - pixels(small)).mean() < 20
    assert np.abs(pixels(scans(large, 20)) - (255, 0, 0)).max() < 3
    baseline = encoded(photo(6), "JPEG", quality=95)
    thumbnails = b"\xff\xe1" + struct.pack(">H", 2 + 3_000) + b"\xff\xda\xff\xd9" * 750
    assert (pixels(baseline[:2] + thumbnails + baseline[2:]) == pixels(baseline)).all()


def test_pixels_for_each_byte_are_bounded() -> None:
    flat = bytearray(encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "WEBP", lossless=True))
    flat[21:25] = (4_999 << 14 | 8_999).to_bytes(4, "little")  # VP8L's width and height, less 1
    rows = zlib.compress(bytes(9_000 // 8 + 1) * 5_000, 9)
    header = struct.pack(">IIBBBBB", 9_000, 5_000, 1, 0, 0, 0, 0)
    png = PNG + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    fax = encoded(Image.new("1", (9_000, 5_000), 1), "TIFF", compression="group4")
    for bomb in (bytes(flat), png, fax):
        start = time.monotonic()
        assert "9000 x 5000 pixels in" in refusal(bomb)
        assert time.monotonic() - start < 1
    scan = Image.new("1", (4_960, 4_000), 1)  # a blank page
    assert (pixels(encoded(scan, "TIFF", compression="group4")) == 255).all()


def test_huge_tiles_of_a_tiff_are_refused() -> None:
    data = tiff(np.zeros((8, 8, 3), np.uint8), 2, {322: [65_520], 323: [65_520]})
    assert refusal(data) == "damaged image (huge tiles)"


@pytest.mark.parametrize("magic", [b"P3", b"P6"])
def test_slow_kinds_of_ppm_are_bounded(magic: bytes) -> None:
    maximum = b"100" if magic == b"P6" else b"255"
    assert "more than 4000000" in refusal(
        magic + b"\n3000 2000\n" + maximum + b"\n" + bytes(18_000_000)
    )


def test_ppm_of_every_kind_is_read() -> None:
    rgb = photo(8, (16, 16))
    assert (pixels(encoded(rgb, "PPM")) == np.asarray(rgb)).all()
    text = b"P3 16 16 255 " + b" ".join(b"%d" % value for value in np.asarray(rgb).ravel())
    assert (pixels(text) == np.asarray(rgb)).all()
    for mode in ("L", "1"):
        image = rgb.convert(mode)
        assert (pixels(encoded(image, "PPM")) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mutated_picture_is_refused_or_read() -> None:
    draw = random.Random(0)
    for name, data in every_kind().items():
        for _ in range(12):
            mutated = bytearray(data)
            for _ in range(draw.choice((1, 5))):
                mutated[draw.randrange(min(len(data), draw.choice((64, 10**9))))] = draw.randrange(
                    256
                )
            with contextlib.suppress(UnreadableError):
                picture = decode_picture(bytes(mutated), 16, draw.choice((16, 12)))
                assert picture.image.size == (16, 16), name
                assert picture.image.mode == "RGB", name
