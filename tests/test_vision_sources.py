"""Sources of images: what is read, in which order, what is refused, and how it is decoded."""

import contextlib
import hashlib
import http.server
import io
import itertools
import os
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image, ImageOps

from tasks.vision import archives, decoding, sources
from tasks.vision.errors import BadInput
from tasks.vision.sources import (
    ImageSet,
    Source,
    Split,
    duplicates,
    find_source,
    fingerprint,
    read_source,
)

ROOT = Path(__file__).parents[1]


def png(seed: int, size: tuple[int, int] = (8, 8)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def small_set() -> dict[str, bytes]:
    """Two classes, six training and three test images each, of several sizes and kinds."""
    files: dict[str, bytes] = {}
    for split, count in (("train", 6), ("test", 3)):
        for label in ("car", "zebra crossing"):
            for index in range(count):
                seed = len(files)
                files[f"{split}/{label}/{index}é.png"] = png(seed, (8 + seed % 3, 8 + seed % 2))
    files["train/car/photo.JPEG"] = encoded(Image.new("RGB", (20, 16), "red"), "JPEG")
    return files


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (path / name).mkdir()
        else:
            (path / name).write_bytes(data)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            archive.addfile(member, io.BytesIO(data))
    return path


def write_any(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        return write_zip(path, files)
    return write_tar(path, files) if path.suffix else write_folder(path, files)


def read(path: Path, image_size: int = 8, **options: Any) -> ImageSet:
    return read_source(find_source(str(path)), image_size, **options)


def same(a: ImageSet, b: ImageSet) -> bool:
    return (
        a.classes == b.classes
        and a.unreadable == b.unreadable
        and a.splits.keys() == b.splits.keys()
        and all(
            mine.names == b.splits[name].names
            and np.array_equal(mine.labels, b.splits[name].labels)
            and np.array_equal(mine.images, b.splits[name].images)
            for name, mine in a.splits.items()
        )
    )


def refused(call: Callable[[], object], *expected: str) -> str:
    with pytest.raises(BadInput) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    for part in expected:
        assert part in message
    return message


# Naming a source


def test_names_and_paths_are_found(tmp_path: Path) -> None:
    assert find_source("digits") == Source("digits", "digits", None)
    assert find_source("cifar10") == Source("cifar10", "cifar10", None)
    assert find_source(str(tmp_path)) == Source(tmp_path.name, "folder", tmp_path)
    for name in ("a.zip", "a.TAR", "a.tar.gz", "a.tgz"):
        path = tmp_path / name
        path.touch()
        assert find_source(str(path)) == Source(name, "archive", path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("digit", "did you mean 'digits'?"),
        ("CIFAR-10", "did you mean 'cifar10'?"),
        ("{tmp}/picturs", "did you mean '{tmp}/pictures'?"),
        ("{tmp}/nowhere/at/all", "isn't there"),
        ("{tmp}/notes.txt", "no folder and no archive"),
        ("{tmp}/pipe.zip", "no folder and no archive"),
        ("", "isn't there"),
        ("a\0b", "isn't there"),
        ("x" * 5000, "can't be a path"),
    ],
)
def test_what_is_no_source_is_refused(given: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "notes.txt").touch()
    os.mkfifo(tmp_path / "pipe.zip")
    given, expected = given.format(tmp=tmp_path), expected.format(tmp=tmp_path)
    refused(lambda: find_source(given), repr(given), expected, "digits, cifar10", ".tar.gz")


# Folders and archives


def test_a_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    files = small_set()
    found = read(write_folder(tmp_path / "set", files))
    assert found.classes == ["car", "zebra crossing"]
    assert list(found.splits) == ["train", "test"]
    assert found.unreadable == []
    for name, split in found.splits.items():
        expected = sorted(key for key in files if key.startswith(name))
        assert split.names == expected
        assert split.labels.dtype == np.int32
        assert [found.classes[label] for label in split.labels] == [
            key.split("/")[1] for key in expected
        ]
        assert split.images.shape == (len(expected), 8, 8, 3)
        assert split.images.dtype == np.uint8
        for key, image in zip(expected, split.images, strict=True):
            whole = Image.open(io.BytesIO(files[key]))
            fitted = ImageOps.fit(whole, (8, 8), Image.Resampling.LANCZOS)
            assert np.array_equal(image, np.asarray(whole if whole.size == (8, 8) else fitted)), key


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.tar.gz", "set.tgz"])
@pytest.mark.parametrize("top", ["", "./", "top/", "top folder/"])
def test_an_archive_reads_like_its_folder(name: str, top: str, tmp_path: Path) -> None:
    files = small_set()
    folder = read(write_folder(tmp_path / "plain", files))
    noise = {
        "train/__MACOSX/1.png": b"junk",
        "train/car/.hidden.png": b"junk",
        "train/.ipynb_checkpoints/1.png": b"junk",
        "train/car/notes.txt": b"not an image, and not named like one",
        ".git/config": b"",
        "README.md": b"",
    }
    mixed = dict(sorted((files | noise).items(), key=lambda item: hashlib.md5(item[1]).digest()))
    mixed = {f"{top}{key}": data for key, data in mixed.items()}
    assert same(read(write_any(tmp_path / name, mixed)), folder)
    assert same(read(write_any(tmp_path / "noisy", mixed)), folder)


def test_only_the_splits_asked_for_are_looked_at(tmp_path: Path) -> None:
    files = small_set()
    both = read(write_folder(tmp_path / "both", files))
    only = {name: data for name, data in files.items() if name.startswith("test")}
    path = write_folder(tmp_path / "only", only)
    found = read(path, splits=("test",))
    assert found.classes == both.classes
    assert list(found.splits) == ["test"]
    assert np.array_equal(found.splits["test"].images, both.splits["test"].images)
    refused(lambda: read(path), str(path), "no folder train", "found: test")
    refused(lambda: read(path, splits=("validation",)), "validation", "train, test")
    refused(lambda: read(path, splits=()), "train, test")
    refused(lambda: read(path, 0, splits=("test",)), "image size 0")


def test_a_folder_one_too_high_is_accepted(tmp_path: Path) -> None:
    plain = read(write_folder(tmp_path / "high" / "set", small_set()))
    (tmp_path / "high" / "other").mkdir()
    assert same(read(tmp_path / "high"), plain)
    write_folder(tmp_path / "high" / "set2", small_set())
    refused(lambda: read(tmp_path / "high"), "several data sets", "set, set2")


LAYOUT_FAULTS: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], list[str]]] = {
    "no train": (
        lambda files: {f"Train{name[5:]}": data for name, data in files.items() if "train" in name},
        ["no folder train", "found: Train"],
    ),
    "nothing at all": (lambda _: {"notes.txt": b""}, ["no folder train", "found: notes.txt"]),
    "no test": (
        lambda files: {name: data for name, data in files.items() if "train" in name},
        ["no folder test", "found: train"],
    ),
    "empty class": (lambda files: files | {"train/dog/": b""}, ["no images in train/dog"]),
    "class without images": (
        lambda files: files | {"test/dog/notes.txt": b"."},
        ["no images in test/dog"],
    ),
    "no classes": (
        lambda _: {"train/": b"", "test/": b""},
        ["no class folders in train"],
    ),
    "images without a class": (
        lambda files: files | {"train/1.png": png(1)},
        ["train/1.png", "move it"],
    ),
    "images too deep": (
        lambda files: files | {"train/car/red/1.png": png(1)},
        ["train/car/red/1.png", "move it"],
    ),
    "misspelt class in test": (
        lambda files: files | {"test/carr/1.png": png(1)},
        ["classes in test that train lacks: carr", "did you mean car?"],
    ),
    "class without test images": (
        lambda files: files | {"train/ferry/1.png": png(1), "train/bike/1.png": png(2)},
        ["classes in train that test lacks: bike, ferry", "test has car, zebra crossing"],
    ),
    "names with line breaks": (
        lambda files: files | {"test/a\nb/1.png": png(1)},
        ["classes in test that train lacks: 'a\\nb'"],
    ),
}


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar"])
@pytest.mark.parametrize("fault", LAYOUT_FAULTS)
def test_a_wrong_layout_is_refused(fault: str, name: str, tmp_path: Path) -> None:
    change, expected = LAYOUT_FAULTS[fault]
    path = write_any(tmp_path / name, change(small_set()))
    refused(lambda: read(path), str(path), *expected)


# Archives that are unsafe or damaged


def add_to_zip(path: Path, info: zipfile.ZipInfo, data: bytes = b"") -> Path:
    write_zip(path, small_set())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, data)
    return path


def add_to_tar(path: Path, name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> Path:
    write_tar(path, small_set())
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type = kind
        for field, value in fields.items():
            setattr(member, field, value)
        header = member.tobuf(errors="surrogateescape")  # addfile refuses one without its bytes
        assert archive.fileobj is not None
        archive.fileobj.write(header)
        archive.offset += len(header)
    return path


def zip_with_mode(path: Path, mode: int) -> Path:
    info = zipfile.ZipInfo("train/car/link.png")
    info.external_attr = mode << 16
    return add_to_zip(path, info, b"/etc/passwd")


def zip_edited(path: Path, edit: Callable[[bytearray], None]) -> Path:
    write_zip(path, small_set())
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)
    return path


def zip_encrypted(path: Path) -> Path:
    def edit(data: bytearray) -> None:
        data[data.index(b"PK\1\2") + 8] |= 1

    return zip_edited(path, edit)


def zip_with_claim(path: Path, size: int) -> Path:
    """The first member claims another size than it yields."""

    def edit(data: bytearray) -> None:
        struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, size)

    return zip_edited(path, edit)


def zip_with_wrong_bytes(path: Path) -> Path:
    def edit(data: bytearray) -> None:
        data[80] ^= 255

    return zip_edited(path, edit)


def zip_with_latin1_name(path: Path) -> Path:
    write_zip(path, small_set() | {"train/car/xx.png": png(1)})
    path.write_bytes(path.read_bytes().replace(b"car/xx.png", b"car/x\xe9.png"))
    return path


def write_text(path: Path) -> Path:
    path.write_text("This is no archive.")
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def tar_with_broken_header(path: Path) -> Path:
    """What follows the broken header would be lost in silence."""
    data = bytearray(write_tar(path, small_set()).read_bytes())
    data[data.index(b"train/car/photo.JPEG") + 150] ^= 1
    path.write_bytes(data)
    return path


def gzip_with_wrong_checksum(path: Path) -> Path:
    data = bytearray(write_tar(path, small_set()).read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    return path


def tar_with_long_name_header(path: Path) -> Path:
    """The header of a "name" of 2 GiB."""
    return add_to_tar(path, "././@LongLink", tarfile.GNUTYPE_LONGNAME, size=2**31)


def zeros(path: Path, count: int, size: int) -> Path:
    return write_any(path, {f"train/car/{index}.png": bytes(size) for index in range(count)})


ARCHIVE_FAULTS: dict[str, tuple[str, Callable[[Path], Path], list[str]]] = {
    "zip, up": (
        "a.zip",
        lambda path: write_zip(path, small_set() | {"train/car/../../../x.png": b""}),
        ["'train/car/../../../x.png'"],
    ),
    "zip, up with backslashes": (
        "a.zip",
        lambda path: write_zip(path, small_set() | {"train/car/..\\..\\x.png": b""}),
        ["x.png"],
    ),
    "zip, absolute": (
        "a.zip",
        lambda path: write_zip(path, small_set() | {"/etc/passwd": b""}),
        ["'/etc/passwd'"],
    ),
    "zip, drive": (
        "a.zip",
        lambda path: write_zip(path, small_set() | {"C:\\x.png": b""}),
        ["x.png"],
    ),
    "zip, symlink": (
        "a.zip",
        lambda path: zip_with_mode(path, stat.S_IFLNK | 0o777),
        ["'train/car/link.png'", "link or device"],
    ),
    "zip, device": (
        "a.zip",
        lambda path: zip_with_mode(path, stat.S_IFCHR | 0o777),
        ["'train/car/link.png'", "link or device"],
    ),
    "zip, encrypted": ("a.zip", zip_encrypted, ["'train/car/0é.png'", "encrypted"]),
    "zip, not UTF-8": ("a.zip", zip_with_latin1_name, ["x\\xe9.png", "UTF-8"]),
    "zip, twice": (
        "a.zip",
        lambda path: add_to_zip(path, zipfile.ZipInfo("./train/car/0é.png"), png(9)),
        ["there twice"],
    ),
    "zip, one large member": ("a.zip", lambda path: zeros(path, 1, 70_000_000), ["70000000 bytes"]),
    "zip, large in all": ("a.zip", lambda path: zeros(path, 4, 30_000_000), ["unpack to more"]),
    "zip, yields more than it claims": ("a.zip", lambda path: zip_with_claim(path, 9), ["0é.png"]),
    "zip, yields less": ("a.zip", lambda path: zip_with_claim(path, 9999), ["0é.png"]),
    "zip, claims 4 GB": ("a.zip", lambda path: zip_with_claim(path, 2**32 - 2), ["unpack to more"]),
    "zip, other compression": (
        "a.zip",
        lambda path: add_to_zip(
            path, _info("train/car/z.png", compress_type=zipfile.ZIP_LZMA), png(1)
        ),
        ["'train/car/z.png' is neither stored nor deflated"],
    ),
    "zip, wrong bytes": ("a.zip", zip_with_wrong_bytes, ["can't be read"]),
    "zip, cut": ("a.zip", lambda path: cut(write_zip(path, small_set()), 0.6), ["can't be read"]),
    "zip, empty": ("a.zip", lambda path: cut(write_zip(path, {}), 0), ["can't be read"]),
    "tar, up": ("a.tar", lambda path: add_to_tar(path, "../x.png"), ["'../x.png'"]),
    "tar, absolute": ("a.tar", lambda path: add_to_tar(path, "/x.png"), ["'/x.png'"]),
    "tar, symlink": (
        "a.tar",
        lambda path: add_to_tar(path, "train/car/l.png", tarfile.SYMTYPE, linkname="/etc/passwd"),
        ["'train/car/l.png'", "link or device"],
    ),
    "tar, hard link": (
        "a.tar",
        lambda path: add_to_tar(path, "train/car/l.png", tarfile.LNKTYPE, linkname="/etc/passwd"),
        ["'train/car/l.png'", "link or device"],
    ),
    "tar, device": (
        "a.tar",
        lambda path: add_to_tar(path, "train/car/l.png", tarfile.CHRTYPE),
        ["'train/car/l.png'", "link or device"],
    ),
    "tar, pipe": (
        "a.tar",
        lambda path: add_to_tar(path, "train/car/l.png", tarfile.FIFOTYPE),
        ["'train/car/l.png'", "link or device"],
    ),
    "tar, sparse": (
        "a.tar",
        lambda path: add_to_tar(path, "train/car/s.png", tarfile.GNUTYPE_SPARSE),
        ["'train/car/s.png'"],
    ),
    "tar, not UTF-8": (
        "a.tar",
        lambda path: add_to_tar(path, "train/car/x\udce9.png"),
        ["'train/car/x\\udce9.png'", "UTF-8"],
    ),
    "tar, twice": ("a.tar", lambda path: add_to_tar(path, "train/car/0é.png"), ["there twice"]),
    "tar, claims 50 GB": (
        "a.tar",
        lambda path: add_to_tar(path, "big", size=50 * 10**9),
        ["unpack to more"],
    ),
    "tar, long name": ("a.tar", tar_with_long_name_header, ["can't be read", "2147483648"]),
    "tar.gz, one large member": (
        "a.tar.gz",
        lambda path: zeros(path, 1, 70_000_000),
        ["70000000 bytes"],
    ),
    "tar.gz, large in all": (
        "a.tgz",
        lambda path: zeros(path, 4, 30_000_000),
        ["unpack to more"],
    ),
    "tar, broken header": ("a.tar", tar_with_broken_header, ["broken header"]),
    "tar, cut": ("a.tar", lambda path: cut(write_tar(path, small_set()), 0.5), ["can't be read"]),
    "tar, text": ("a.tar", write_text, ["can't be read"]),
    "tar, empty": ("a.tar", lambda path: cut(write_tar(path, {}), 0), ["can't be read"]),
    "tar.gz, cut": (
        "a.tar.gz",
        lambda path: cut(write_tar(path, small_set()), 0.8),
        ["can't be read"],
    ),
    "tar.gz, wrong checksum": ("a.tar.gz", gzip_with_wrong_checksum, ["can't be read"]),
}


def _info(name: str, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize("fault", ARCHIVE_FAULTS)
def test_an_unsafe_or_damaged_archive_is_refused(fault: str, tmp_path: Path) -> None:
    name, make, expected = ARCHIVE_FAULTS[fault]
    path = make(tmp_path / name)
    refused(lambda: read(path), str(path), *expected)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_member_that_yields_more_than_it_claims_is_not_inflated(tmp_path: Path) -> None:
    files = small_set() | {"train/car/000.png": bytes(60_000_000)}
    path = write_zip(tmp_path / "a.zip", files)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"train/car/000.png") - 22, 100)
    path.write_bytes(data)
    with peak_memory() as peak:
        refused(lambda: read(path, workers=1), str(path), "train/car/000.png")
        assert peak() < 5e6


@contextlib.contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_archive_of_too_many_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    for name in ("a.zip", "a.tar"):
        path = write_any(tmp_path / name, small_set())
        refused(lambda path=path: read(path), str(path), "more than 10 members")  # type: ignore[misc]


def test_a_folder_with_names_that_are_not_utf8_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", small_set())
    Path(os.fsdecode(os.fsencode(path) + b"/train/car/x\xe9.png")).write_bytes(png(1))
    refused(lambda: read(path), str(path), "x\\udce9.png", "UTF-8")


def test_an_archive_that_has_gone_is_refused(tmp_path: Path) -> None:
    source = find_source(str(write_zip(tmp_path / "a.zip", small_set())))
    (tmp_path / "a.zip").unlink()
    refused(lambda: read_source(source, 8), "a.zip")
    refused(lambda: fingerprint(source), "a.zip")


# Decoding


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
def test_every_mode_becomes_rgb(mode: str) -> None:
    data, expected, tolerance = MODES[mode]
    image = decoding.decode(data, 8)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    corners = np.zeros((2, 2, 3), np.uint8)
    corners[0, 0], corners[0, 1], corners[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    upright = Image.fromarray(corners.repeat(16, 0).repeat(16, 1))
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decoding.decode(encoded(stored, kind, exif=exif.tobytes(), **options), 32)
    error = np.abs(image.astype(int) - np.asarray(upright)).mean()
    assert error < 5, f"mean error {error}"


def test_the_centre_square_is_kept() -> None:
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, 30:60] = 200
    for pixels in (wide, wide.transpose(1, 0, 2)):
        image = decoding.decode(encoded(Image.fromarray(np.ascontiguousarray(pixels)), "PNG"), 10)
        assert image[2:8, 2:8].min() > 190


def test_a_photograph_is_scaled_as_well_as_from_all_its_pixels() -> None:
    pattern = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    photo = Image.fromarray(pattern).resize((512, 512), Image.Resampling.BICUBIC)
    data = encoded(photo, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(data))
    expected = np.asarray(ImageOps.fit(whole, (32, 32), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(decoding.decode(data, 32) - expected).mean() < 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_plain_png_has_the_pixels_that_pillow_reads(mode: str) -> None:
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 9, (40, 40, 3)).cumsum(0).cumsum(1).astype(np.uint8)
    data = encoded(Image.fromarray(smooth).convert(mode), "PNG")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decoding.decode(data, 40), expected)


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
    "empty": (b"", "not an image (0 bytes)"),
    "text": (b"This is no image.", "not an image (17 bytes)"),
    "cut PNG": (png(1, (40, 40))[:-2000], "damaged image"),
    "cut plain PNG": (png(1)[:-60], "damaged image"),
    "damaged PNG": (png(1).replace(b"IDAT", b"IDAT\xff\xff"), "damaged image"),
    "header only": (png(1)[:20], "damaged image"),
    "huge RGB": (huge_png(2), "50000 x 50000 pixels"),
    "huge RGBA": (huge_png(6), "50000 x 50000 pixels"),
    "float": (encoded(Image.new("F", (8, 8), 0.5), "TIFF"), "32-bit"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not an image"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_image_is_named_and_left_out(case: str, tmp_path: Path) -> None:
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
    refused(lambda: read(path), str(path), "1 of 14 images in train", bad, reason, "1.00%")


def test_files_that_can_not_be_opened_are_named(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", small_set())
    (path / "train/car/gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(path / "train/car/pipe.png")
    with (path / "train/car/vast.png").open("wb") as file:
        file.truncate(100_000_000)
    found = read(path, max_unreadable=0.5)
    assert [line.split(": ")[0] for line in found.unreadable] == [
        "train/car/gone.png",
        "train/car/pipe.png",
        "train/car/vast.png",
    ]
    assert len(found.splits["train"].names) == 13


def test_the_share_of_unreadable_images_is_per_split(tmp_path: Path) -> None:
    files = {f"train/car/{index:03}.png": png(index) for index in range(100)}
    files |= {f"test/car/{index}.png": png(index) for index in range(4)}
    one = read(write_folder(tmp_path / "one", files | {"train/car/007.png": b""}))
    assert one.unreadable == ["train/car/007.png: not an image (0 bytes)"]
    assert len(one.splits["train"].names) == 99
    path = write_folder(tmp_path / "test", files | {"test/car/2.png": b""})
    refused(lambda: read(path), "1 of 4 images in test", "test/car/2.png")
    five = {f"train/car/{index:03}.png": b"" for index in range(5)}
    path = write_folder(tmp_path / "five", files | five)
    message = refused(lambda: read(path), "5 of 100", "car/000.png", "car/002.png", "1.00%")
    assert "car/003.png" not in message


def test_a_class_of_unreadable_images_is_refused(tmp_path: Path) -> None:
    files = small_set() | {"train/dog/1.png": b"", "test/dog/1.png": png(1)}
    path = write_folder(tmp_path / "set", files)
    refused(lambda: read(path, max_unreadable=0.5), "train/dog/1.png", "one in each class")


# Many images at once


@pytest.fixture
def large_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six hundred images, enough for processes, some of them unreadable."""
    monkeypatch.setattr(decoding, "PROCESSES_FROM", 100)
    monkeypatch.setattr(decoding, "CHUNK_IMAGES", 50)
    files = {}
    for index in range(600):
        data = b"broken" if index % 97 == 5 else png(index, (8 + index % 2, 8))
        files[f"{'test' if index % 5 == 0 else 'train'}/{index % 3}/{index}.png"] = data
    return write_zip(tmp_path / "large.zip", files)


def test_the_number_of_workers_does_not_change_the_result(large_zip: Path) -> None:
    alone = read(large_zip, workers=1, max_unreadable=0.1)
    assert len(alone.unreadable) == 7
    for workers in (2, 3, None):
        assert same(read(large_zip, workers=workers, max_unreadable=0.1), alone)
    folder = large_zip.with_suffix("")
    with zipfile.ZipFile(large_zip) as archive:
        archive.extractall(folder)
    assert same(read(folder, workers=2, max_unreadable=0.1), alone)
    assert not psutil.Process().children()


def test_threads_give_the_same_as_processes(
    large_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_processes = read(large_zip, workers=2, max_unreadable=0.1)
    monkeypatch.setattr(decoding, "PROCESSES_FROM", 10**9)
    assert same(read(large_zip, workers=3, max_unreadable=0.1), by_processes)


def test_a_killed_worker_is_told_and_none_stays(large_zip: Path) -> None:
    def files() -> Iterator[tuple[int, bytes]]:
        image = png(1)
        for index in itertools.count():  # no end, so that the killed one is asked again
            if index == 300:
                psutil.Process().children()[0].kill()
            yield index % 600, image

    out = np.empty((600, 8, 8, 3), np.uint8)
    with pytest.raises(ChildProcessError, match="exit status -9"):
        decoding.decode_all(files(), out, workers=2)
    assert not psutil.Process().children()


def test_a_fault_in_the_middle_of_a_large_job_is_refused_and_no_worker_stays(
    large_zip: Path,
) -> None:
    data = bytearray(large_zip.read_bytes())
    data[data.index(b"300.png") + 60] ^= 255
    large_zip.write_bytes(data)
    refused(lambda: read(large_zip, workers=2, max_unreadable=0.1), "300.png", "checksum")
    assert not psutil.Process().children()


SCRIPT = """
import hashlib, sys
from tasks.vision import decoding, sources
decoding.PROCESSES_FROM = 100
found = sources.read_source(sources.find_source(sys.argv[1]), 8, workers=2, max_unreadable=0.1)
print(hashlib.sha256(found.splits["train"].images.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("start", ["standard input", "file", "elsewhere"])
def test_processes_need_no_main_guard(start: str, large_zip: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-" if start == "standard input" else str(script), str(large_zip)],
        input=SCRIPT if start == "standard input" else None,
        capture_output=True,
        text=True,
        cwd=tmp_path if start == "elsewhere" else ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    expected = read(large_zip, workers=1, max_unreadable=0.1).splits["train"].images
    assert done.stdout.split() == [hashlib.sha256(expected.tobytes()).hexdigest()]
    assert done.stderr == ""


ENDLESS = """
import itertools, sys
import numpy as np
from tasks.vision import decoding
decoding.PROCESSES_FROM = 100
image = open(sys.argv[1], "rb").read()
def endless():
    for index in itertools.count():
        if index == 20_000:  # both workers have long been at it
            print("ready", flush=True)
        yield index % 600, image
decoding.decode_all(endless(), np.empty((600, 8, 8, 3), np.uint8), workers=2)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_caller(stop: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    caller = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "1.png")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with caller:
        assert caller.stdout is not None
        assert caller.stderr is not None
        caller.stdout.readline()
        workers = psutil.Process(caller.pid).children()
        assert len(workers) == 2
        if stop == signal.SIGINT:
            os.killpg(caller.pid, stop)  # as a terminal sends it: to the workers, too
        else:
            caller.send_signal(stop)
        errors = caller.stderr.read().decode()
        assert caller.wait(10) != 0
    end = time.monotonic() + 10
    while any(map(lives, workers)):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert errors.count("Traceback") == (1 if stop == signal.SIGINT else 0)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# Digits


def test_digits_are_the_scans_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    scans = load_digits()
    found = read_source(find_source("digits"), 8)
    assert found.classes == [str(digit) for digit in range(10)]
    train, test = found.splits["train"], found.splits["test"]
    assert (len(train.names), len(test.names)) == (1437, 360)
    assert sorted(train.names + test.names) == [f"digits/{row:04d}" for row in range(1797)]
    for split in (train, test):
        rows = [int(name[-4:]) for name in split.names]
        grey = np.rint(scans.images[rows] * 255 / 16)
        assert np.array_equal(split.images, np.repeat(grey[..., None], 3, 3))
        assert np.array_equal(split.labels, scans.target[rows])
        assert split.labels.dtype == np.int32
    shares = np.bincount(test.labels) / np.bincount(np.concatenate([train.labels, test.labels]))
    assert np.abs(shares - 0.2).max() < 0.01  # stratified


def test_digits_are_the_same_every_time_and_at_other_sizes() -> None:
    first = read_source(find_source("digits"), 32)
    assert same(first, read_source(find_source("digits"), 32))
    images = first.splits["test"].images
    assert images.shape == (360, 32, 32, 3)
    assert images.dtype == np.uint8
    small = read_source(find_source("digits"), 8, splits=("test",)).splits["test"].images
    assert np.abs(images.mean((1, 2, 3)) - small.mean((1, 2, 3))).max() < 8


# Duplicates and fingerprints


def test_duplicates_are_found_and_named(tmp_path: Path) -> None:
    files = small_set()
    twin = Image.open(io.BytesIO(files["train/zebra crossing/0é.png"]))
    files["test/car/copy.png"] = files["train/car/0é.png"]
    files["train/car/0é again.png"] = files["train/car/0é.png"]
    files["test/car/other encoding.bmp"] = encoded(twin, "BMP")
    found = read(write_folder(tmp_path / "set", files))
    train, test = found.splits["train"], found.splits["test"]
    assert duplicates(train, test) == [
        ("train/car/0é again.png", "test/car/copy.png"),
        ("train/zebra crossing/0é.png", "test/car/other encoding.bmp"),
    ]
    everything = duplicates(test, test)
    assert everything == [(name, name) for name in test.names]
    none = Split(test.images[:0], test.labels[:0], [])
    assert duplicates(none, test) == []


def fingerprint_of(path: Path) -> str:
    return fingerprint(find_source(str(path)))


def test_a_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    files = small_set()
    first = fingerprint_of(write_folder(tmp_path / "a", files))
    assert len(first) == 64
    assert int(first, 16)
    noise = {"README.md": b"", "train/car/notes.txt": b"", "train/car/.hidden.png": b""}
    assert fingerprint_of(write_folder(tmp_path / "b", files | noise)) == first
    write_folder(tmp_path / "c" / "inner", files)
    assert fingerprint_of(tmp_path / "c") == first

    changed = bytearray(files["test/car/1é.png"])
    changed[-1] ^= 1
    others = [
        files | {"test/car/1é.png": bytes(changed)},
        files | {"test/car/more.png": png(1)},
        {name: data for name, data in files.items() if name != "test/car/1é.png"},
        {name.replace("1é", "one"): data for name, data in files.items()},
        {name.replace("/car/", "/bus/"): data for name, data in files.items()},
    ]
    prints = {
        fingerprint_of(write_folder(tmp_path / str(number), other))
        for number, other in enumerate(others)
    }
    assert len(prints | {first}) == len(others) + 1


def test_a_fingerprint_of_an_archive_is_its_own_hash(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", small_set())
    assert fingerprint_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_fingerprints_of_named_sources() -> None:
    assert fingerprint(find_source("cifar10")) == sources.CIFAR10_SHA256
    digits = fingerprint(find_source("digits"))
    assert len(digits) == 64
    assert digits == fingerprint(find_source("digits"))


# CIFAR-10


def old_pickle(value: Any) -> bytes:
    """A value as Python 2 pickled it, in protocol 2: what the published batches are."""

    def write(value: Any) -> bytes:
        if isinstance(value, bytes):
            return b"T" + struct.pack("<I", len(value)) + value
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, list):
            return b"](" + b"".join(map(write, value)) + b"e"
        if isinstance(value, dict):
            items = b"".join(write(key) + write(one) for key, one in value.items())
            return b"}(" + items + b"u"
        shape = write(value.shape[0]) + write(value.shape[1]) + b"\x86"
        return (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1"
            + shape
            + b"cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xff"
            + b"J\xff\xff\xff\xffK\0tb\x89"
            + write(value.tobytes())
            + b"tb"
        )

    return b"\x80\2" + write(value) + b"."


def cifar_batch(seed: int, count: int = 7) -> dict[bytes, Any]:
    rng = np.random.default_rng(seed)
    return {
        b"batch_label": b"a batch",
        b"labels": rng.integers(0, 10, count).tolist(),
        b"data": rng.integers(0, 256, (count, 3072), np.uint8),
        b"filenames": [b"file_%d_%d.png" % (seed, index) for index in range(count)],
    }


def cifar_archive(change: Callable[[dict[str, bytes]], None] = lambda _: None) -> bytes:
    files = {"batches.meta": b"not read", "test_batch": old_pickle(cifar_batch(6))}
    for number in (4, 1, 5, 3, 2):
        files[f"data_batch_{number}"] = old_pickle(cifar_batch(number))
    change(files)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class Site:
    """A web site on this machine that gives one file; `faults` make it break off or fail."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.fault = ""
        self.requests = 0
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests += 1
                self.send_response(503 if site.fault == "busy" else 200)
                self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body[: 100 if site.fault == "broken" else None])

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/cifar-10-python.tar.gz"


@contextlib.contextmanager
def serving(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(body)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(sources, "CIFAR10_URL", site.url)
    monkeypatch.setattr(sources, "CIFAR10_SHA256", hashlib.sha256(body).hexdigest())
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


def read_cifar(cache_dir: Path, image_size: int = 32, **options: Any) -> ImageSet:
    return read_source(find_source("cifar10"), image_size, cache_dir=cache_dir, **options)


def test_cifar10_is_downloaded_once_and_read_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "new" / "cache"
    with serving(cifar_archive(), monkeypatch) as site:
        found = read_cifar(cache)
        assert found.classes == sources.CIFAR10_CLASSES
        batches = [cifar_batch(number) for number in (1, 2, 3, 4, 5)]
        train, test = found.splits["train"], found.splits["test"]
        pixels = np.concatenate([batch[b"data"] for batch in batches])
        assert np.array_equal(train.images, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        assert train.labels.tolist() == [label for batch in batches for label in batch[b"labels"]]
        assert train.labels.dtype == np.int32
        label = sources.CIFAR10_CLASSES[train.labels[8]]
        assert train.names[8] == f"train/{label}/file_2_1.png"
        assert test.names[0].endswith("/file_6_0.png")
        assert same(read_cifar(cache), found)
        assert site.requests == 1

        small = read_cifar(cache, 16, splits=("test",))
        assert list(small.splits) == ["test"]
        fitted = Image.fromarray(test.images[3]).resize((16, 16), Image.Resampling.LANCZOS)
        assert np.array_equal(small.splits["test"].images[3], np.asarray(fitted))

        [archive] = cache.iterdir()
        archive.write_bytes(archive.read_bytes()[:-1])
        assert same(read_cifar(cache), found), "a damaged copy is replaced"
        assert site.requests == 2


def test_cifar10_with_another_hash_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(cifar_archive(), monkeypatch) as site:
        monkeypatch.setattr(sources, "CIFAR10_SHA256", "0" * 64)
        refused(lambda: read_cifar(tmp_path), site.url, "0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["busy", "broken", "nobody there"])
def test_a_failed_download_may_be_tried_again(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(cifar_archive(), monkeypatch) as site:
        site.fault = fault
        if fault == "nobody there":
            monkeypatch.setattr(sources, "CIFAR10_URL", "http://127.0.0.1:9/cifar.tar.gz")
        with pytest.raises(ConnectionError) as caught:
            read_cifar(tmp_path)
        assert sources.CIFAR10_URL in str(caught.value)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
        site.fault = ""
        monkeypatch.setattr(sources, "CIFAR10_URL", site.url)
        assert len(read_cifar(tmp_path).splits["train"].names) == 35


def evil(files: dict[str, bytes]) -> None:
    files["test_batch"] = b"\x80\2cos\nsystem\nU\x0ctouch harmed\x85R."


def wrong_shape(files: dict[str, bytes]) -> None:
    files["test_batch"] = old_pickle(cifar_batch(6) | {b"labels": [1, 2]})


def wrong_label(files: dict[str, bytes]) -> None:
    files["test_batch"] = old_pickle(cifar_batch(6) | {b"labels": [10] * 7})


def no_test(files: dict[str, bytes]) -> None:
    del files["test_batch"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (evil, "os.system"),
        (wrong_shape, "2 labels"),
        (wrong_label, "7 labels"),
        (no_test, "no test_batch"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused_and_calls_nothing(
    change: Callable[[dict[str, bytes]], None],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(cifar_archive(change), monkeypatch):
        refused(lambda: read_cifar(tmp_path / "cache"), "cifar-10-python.tar.gz", expected)
    assert not (tmp_path / "harmed").exists()


def test_a_cache_that_can_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with serving(cifar_archive(), monkeypatch):
        refused(lambda: read_cifar(tmp_path / "file" / "cache"), str(tmp_path), "can't be kept")


# Costs


def test_importing_is_light() -> None:
    code = (
        "import sys, tasks.vision.sources as _; heavy = 'tensorflow', 'keras', 'prefect', 'sklearn'"
        "; print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_memory_stays_near_the_size_of_the_result(tmp_path: Path) -> None:
    """A tar of 96 MB of pictures, read into 0.3 MB: only a few MiB of it are held at a time."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    picture = encoded(Image.fromarray(noise), "BMP")
    files = {f"train/car/{index}.bmp": picture for index in range(200)}
    path = write_tar(tmp_path / "a.tar", files)
    with peak_memory() as peak:
        read(path, 24, splits=("train",), workers=2)
        assert peak() < 45e6
