"""Made-up pictures of many kinds, with the bytes that cameras, scanners and damage leave."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from support.images import encoded

PNG = b"\x89PNG\r\n\x1a\n"
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def photo(seed: int = 0, size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A smooth RGB picture with bright and dark places, different in each corner."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def sharp_photo(seed: int, size: tuple[int, int] = (96, 96)) -> Image.Image:
    """A picture with coarse shapes, and with edges as a photo in focus has them."""
    random = np.random.default_rng(seed)
    image = photo(seed, size)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = (int(random.integers(0, each)) for each in size)
        width, height = (int(each) for each in random.integers(6, 30, 2))
        colour = tuple(random.integers(0, 256, 3).tolist())
        draw.rectangle((x, y, x + width, y + height), fill=colour)
    return image


def deep(bits: int, channels: int = 3, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    """(height, width, channels) uint16 samples from 0 to the largest of so many bits."""
    count = size[0] * size[1] * channels
    samples = np.linspace(0, 2**bits - 1, count).astype(np.uint16)
    return samples.reshape(size[1], size[0], channels)


def chunk(kind: bytes, content: bytes, *, intact: bool = True) -> bytes:
    """One chunk of a PNG."""
    checksum = zlib.crc32(kind + content) ^ (not intact)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks after its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def png16(samples: np.ndarray, *chunks: bytes) -> bytes:
    """A 16-bit PNG of (height, width, 1 to 4) samples."""
    height, width, channels = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return PNG + chunk(b"IHDR", header) + b"".join(chunks) + data


def tiff(
    samples: np.ndarray,
    photometric: int,
    tags: Mapping[int, list[int]] | None = None,
    *,
    planes: bool = False,
    big: bool = False,
    packed: bool = False,
) -> bytes:
    """A TIFF of (height, width, bands) samples, as few programs write it but all may; tags of SHORTs."""
    end: Literal["<", ">"] = ">" if big else "<"
    height, width, bands = samples.shape
    values = samples.astype(samples.dtype.newbyteorder(end))
    strips = (
        [values[..., band].tobytes() for band in range(bands)] if planes else [values.tobytes()]
    )
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    offsets = [8 + sum(map(len, strips[:index])) for index in range(len(strips))]
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("H", [width]),
        257: ("H", [height]),
        258: ("H", [samples.dtype.itemsize * 8] * bands),
        259: ("H", [8 if packed else 1]),
        262: ("H", [photometric]),
        273: ("I", offsets),
        277: ("H", [bands]),
        278: ("H", [height]),
        279: ("I", [len(strip) for strip in strips]),
        284: ("H", [2 if planes else 1]),
        **{tag: ("H", of_tag) for tag, of_tag in (tags or {}).items()},
    }
    body = b"".join(strips)
    body += b"\0" * (len(body) % 2)
    directory = struct.pack(end + "H", len(entries))
    extra = b""
    start = 8 + len(body) + 2 + 12 * len(entries) + 4
    for tag, (kind, of_tag) in sorted(entries.items()):
        raw = struct.pack(f"{end}{len(of_tag)}{kind}", *of_tag)
        field = raw.ljust(4, b"\0")
        if len(raw) > 4:
            field = struct.pack(end + "I", start + len(extra))
            extra += raw
        directory += struct.pack(end + "HHI", tag, {"H": 3, "I": 4}[kind], len(of_tag)) + field
    head = (b"MM" if big else b"II") + struct.pack(end + "HI", 42, 8 + len(body))
    return head + body + directory + bytes(4) + extra


def profile(primaries: tuple[tuple[float, ...], ...], padding: int = 0) -> bytes:
    """An ICC profile (version 2) of three primaries, in XYZ under D50, and the curve of sRGB."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    x = np.arange(1024) / 1023
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    table = np.rint(light * 65535).astype(">u2").tobytes()
    curve = b"curv" + bytes(4) + struct.pack(">I", 1024) + table
    tags = [(b"wtpt", b"XYZ " + bytes(4) + b"".join(map(fixed, (0.9642, 1.0, 0.8249))))]
    for name, primary in zip(b"rgb", primaries, strict=True):
        tags.append((bytes([name]) + b"XYZ", b"XYZ " + bytes(4) + b"".join(map(fixed, primary))))
        tags.append((bytes([name]) + b"TRC", curve))
    return _icc(b"RGB ", tags, padding)


def grey_profile(gamma: float) -> bytes:
    """An ICC profile of greys."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    return _icc(b"GRAY", [(b"wtpt", white), (b"kTRC", curve)])


def _icc(space: bytes, tags: list[tuple[bytes, bytes]], padding: int = 0) -> bytes:
    text = b"made up\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    noise = np.random.default_rng(0).integers(0, 256, padding, np.uint8).tobytes()
    every = [
        *tags,
        (b"desc", described + bytes(-len(described) % 4)),
        (b"cprt", b"text" + bytes(4) + b"none"),
        *([(b"noiz", b"data" + bytes(4) + noise + bytes(-len(noise) % 4))] if padding else []),
    ]
    table, body = struct.pack(">I", len(every)), b""
    for name, content in every:
        offset = 128 + 4 + 12 * len(every) + len(body)
        table += name + struct.pack(">II", offset, len(content))
        body += content
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def scans(jpeg: bytes, more: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    return jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * more + jpeg[-2:]


def turned(kind: str, orientation: int, **options: Any) -> bytes:
    """A photo with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(orientation), kind, exif=exif.tobytes(), **options)


def see_through(alpha: int | None = None) -> Image.Image:
    """A photo with an alpha: a ramp, or the same everywhere."""
    image = photo(7)
    ramp = Image.linear_gradient("L").resize(image.size)
    image.putalpha(ramp if alpha is None else Image.new("L", image.size, alpha))
    return image


def every_kind() -> dict[str, bytes]:
    """Sixty kinds of pictures, all readable, by a name with a fitting suffix."""
    rgb, grey = photo(9), photo(10).convert("L")
    key = {"transparency": 0}
    palette = photo(11).quantize(16)
    frames = [photo(seed) for seed in (12, 13)]
    made: dict[str, bytes] = {
        f"{kind.lower()}-turned-{turn}.{kind.lower()}": turned(kind, turn)
        for kind in ("PNG", "JPEG", "WEBP", "TIFF")
        for turn in (2, 3, 6, 8)
    }
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        made[f"plain.{kind.lower()}"] = encoded(rgb, kind)
        made[f"grey.{kind.lower()}"] = encoded(grey, kind)
    for name, primaries in (("p3", DISPLAY_P3), ("adobe", ADOBE_RGB), ("srgb", SRGB)):
        for kind in ("PNG", "JPEG", "TIFF"):
            icc = profile(primaries)
            made[f"{name}.{kind.lower()}"] = encoded(rgb, kind, icc_profile=icc)
    jpeg, png = encoded(rgb, "JPEG", progressive=True), encoded(rgb, "PNG")
    samples = np.asarray(see_through().convert("RGB"))
    infrared = np.concatenate([samples, np.asarray(grey)[..., None]], 2)
    return made | {
        "large.jpg": encoded(photo(14, (700, 500)), "JPEG"),
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "animated.png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "pages.tiff": encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "camera.mpo": encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]),
        "alpha.png": encoded(see_through(), "PNG"),
        "alpha.webp": encoded(see_through(), "WEBP", lossless=True),
        "alpha.tiff": encoded(see_through(), "TIFF"),
        "hidden.png": encoded(see_through(0), "PNG"),
        "grey-alpha.png": encoded(see_through().convert("LA"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette-alpha.png": encoded(palette, "PNG", **key),
        "palette.gif": encoded(palette, "GIF", **key),
        "key.png": encoded(grey, "PNG", transparency=int(np.asarray(grey)[0, 0])),
        "bit.png": encoded(grey.convert("1"), "PNG"),
        "fax.tiff": encoded(grey.convert("1"), "TIFF", compression="group4"),
        "inks.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "inks.tiff": encoded(rgb.convert("CMYK"), "TIFF"),
        "grey-profile.jpg": encoded(grey, "JPEG", icc_profile=grey_profile(1.8)),
        "deep-grey.png": png16(deep(16, 1)),
        "deep-grey-alpha.png": png16(deep(16, 2)),
        "deep.png": png16(deep(16, 3)),
        "deep-alpha.png": png16(deep(16, 4)),
        "deep.tiff": tiff(deep(16, 3), 2),
        "deep-planes.tiff": tiff(deep(16, 3), 2, planes=True),
        "deep-packed.tiff": tiff(deep(16, 3), 2, big=True, packed=True),
        "negative.tiff": tiff(deep(16, 1), 0, big=True),
        "infrared.tiff": tiff(infrared, 2),
        "infrared-planes.tiff": tiff(infrared, 2, {338: [0]}, planes=True),
        "no-end.jpg": jpeg[:-2],
        "text.png": with_chunks(png, chunk(b"tEXt", b"Comment\0 wrong", intact=False)),
        "IMG_0001.HEIC": jpeg,
        "phone.avif": encoded(rgb, "AVIF", quality=80),
        "no-suffix": png,
    }
