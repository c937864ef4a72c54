"""Unsafe and damaged archives are refused."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.images import (
    encoded,
    peak_memory,
    png,
    read,
    refused,
    same,
    small_set,
    write_any,
    write_folder,
    write_tar,
    write_zip,
)

from tasks.vision.files import archives


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


def zip_with_false_flag(path: Path) -> Path:
    """Names that are flagged as UTF-8 and aren't."""
    write_zip(path, small_set())
    path.write_bytes(path.read_bytes().replace("é.png".encode(), b"\xff\xfe.png"))
    return path


def backslashed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace("/", "\\"): data for name, data in files.items()}


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
    return write_any(path, {f"train/car/{index}.bin": bytes(size) for index in range(count)})


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
    "zip, up with backslashes alone": (
        "a.zip",
        lambda path: write_zip(path, backslashed(small_set() | {"train/../../x.png": b""})),
        ["x.png", "outside of it"],
    ),
    "zip, absolute with backslashes alone": (
        "a.zip",
        lambda path: write_zip(path, backslashed(small_set() | {"/x.png": b""})),
        ["/x.png", "outside of it"],
    ),
    "zip, drive with backslashes alone": (
        "a.zip",
        lambda path: write_zip(path, backslashed(small_set() | {"C:/x.png": b""})),
        ["C:/x.png", "outside of it"],
    ),
    "zip, twice with backslashes alone": (
        "a.zip",
        lambda path: write_zip(path, backslashed(small_set() | {"train//car/0é.png": b""})),
        ["there twice"],
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
    "zip, not UTF-8": ("a.zip", zip_with_false_flag, ["0\\xff\\xfe.png", "UTF-8"]),
    "zip, twice": (
        "a.zip",
        lambda path: add_to_zip(path, zipfile.ZipInfo("./train/car/0é.png"), png(9)),
        ["there twice"],
    ),
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
    "tar, twice": ("a.tar", lambda path: add_to_tar(path, "train/car/0é.png"), ["there twice"]),
    "tar, claims 50 GB": (
        "a.tar",
        lambda path: add_to_tar(path, "big", size=50 * 10**9),
        ["unpack to more"],
    ),
    "tar, long name": ("a.tar", tar_with_long_name_header, ["can't be read", "2147483648"]),
    "tar.gz, large in all": (
        "a.tgz",
        lambda path: zeros(path, 4, 30_000_000),
        ["unpack to more"],
    ),
    "tar, broken header": ("a.tar", tar_with_broken_header, ["broken header"]),
    "tar, cut": ("a.tar", lambda path: cut(write_tar(path, small_set()), 0.49), ["can't be read"]),
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
def test_archive_unsafe_or_damaged_is_refused(fault: str, tmp_path: Path) -> None:
    name, make, expected = ARCHIVE_FAULTS[fault]
    path = make(tmp_path / name)
    refused(lambda: read(path), str(path), *expected)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_zip_with_only_backslashes_has_folders(tmp_path: Path) -> None:
    """As old programs on Windows wrote it; with a "/" in any name they are part of the names."""
    files = {"train/": b"", **small_set()}
    plain = read(write_zip(tmp_path / "a.zip", files))
    assert same(read(write_zip(tmp_path / "b.zip", backslashed(files))), plain)
    mixed = write_zip(tmp_path / "c.zip", {**backslashed(small_set()), "notes/a.txt": b""})
    refused(lambda: read(mixed), "no images in 'notes'")


def test_zip_member_larger_than_claimed_is_not_inflated(tmp_path: Path) -> None:
    files = small_set() | {"train/car/000.png": bytes(60_000_000)}
    path = write_zip(tmp_path / "a.zip", files)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"train/car/000.png") - 22, 100)
    path.write_bytes(data)
    with peak_memory() as peak:
        refused(lambda: read(path, workers=1), str(path), "train/car/000.png")
        assert peak() < 5e6


def test_archive_of_too_many_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    for name in ("a.zip", "a.tar"):
        path = write_any(tmp_path / name, small_set())
        refused(lambda path=path: read(path), str(path), "more than 10 members")  # type: ignore[misc]


def test_folder_with_names_not_in_utf8_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", small_set())
    Path(os.fsdecode(os.fsencode(path) + b"/train/car/x\xe9.png")).write_bytes(png(1))
    refused(lambda: read(path), f"{path}/train/car holds the name 'x\\xe9.png'", "UTF-8")


# Good archives that look odd


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_of_any_format_reads_like_its_folder(kind: int, mode: str, tmp_path: Path) -> None:
    deep = "/".join(["a rather long name for a folder of a class"] * 2)
    files = small_set() | {f"train/car/{deep}/{'x' * 40}{i}.png": png(50 + i) for i in range(3)}
    if kind != tarfile.USTAR_FORMAT:
        files |= {f"test/car/{'ü' * 100}.png": png(60)}
    with tarfile.open(tmp_path / "a.tar", mode, format=kind) as archive:  # type: ignore[call-overload]
        archive.pax_headers = {"comment": "of all members"} if kind == tarfile.PAX_FORMAT else {}
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1.5 if kind == tarfile.PAX_FORMAT else 1
            archive.addfile(member, io.BytesIO(data))
    assert same(read(tmp_path / "a.tar"), read(write_folder(tmp_path / "set", files)))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_joined_tars_are_read_whole(name: str, tmp_path: Path) -> None:
    files = small_set()
    parts = [{key: files[key] for key in files if key.startswith(s)} for s in ("train", "test")]
    one, two = (write_tar(tmp_path / f"{i}{name}", part) for i, part in enumerate(parts))
    (tmp_path / name).write_bytes(one.read_bytes() + two.read_bytes())
    assert same(read(tmp_path / name), read(write_folder(tmp_path / "set", files)))


def test_tar_without_an_end_mark_is_read_and_that_is_named(tmp_path: Path) -> None:
    whole = read(write_tar(tmp_path / "a.tar", small_set()))
    data = (tmp_path / "a.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        end = max(m.offset_data + -(-m.size // 512) * 512 for m in archive.getmembers())
    (tmp_path / "a.tar").write_bytes(data[:end])
    found = read(tmp_path / "a.tar")
    assert [str(each) for each in found.left_out] == [
        f"what may have followed, since the archive has no end mark: * (0), such as {tmp_path}/a.tar"
    ]
    assert same(found, whole)


CODE_PAGES = [
    ("cp1252", "café", "cafè"),
    ("shift_jis", "車", "表"),
    ("cp437", "für", "fär"),
    ("utf-8", "é", "è"),
]


@pytest.mark.parametrize(("code", "a", "b"), CODE_PAGES)
def test_a_zip_of_any_code_page_is_read_with_its_classes_apart(
    code: str, a: str, b: str, tmp_path: Path
) -> None:
    """As programs on Windows write it: names in the system's code page, without a flag."""
    labels = {"XAX": a, "XBX": b}
    files = {
        f"{split}/{label}/{i}{label}.png": png(100 * n + i)
        for n, (split, label) in enumerate((s, x) for s in ("train", "test") for x in labels)
        for i in range(3)
    }
    names = {key: value.encode(code) for key, value in labels.items()}
    size = len(next(iter(names.values())))
    assert {len(each) for each in names.values()} == {size}
    padded = {
        name.replace("XAX", "A" * size).replace("XBX", "B" * size): data
        for name, data in files.items()
    }
    path = write_zip(tmp_path / "a.zip", padded)
    data = path.read_bytes()
    for label, letter in (("XAX", b"A"), ("XBX", b"B")):
        old, new = letter * size, names[label]
        for around in (
            (b"n/", b"/"),
            (b"t/", b"/"),
            *((str(i).encode(), b".png") for i in range(3)),
        ):
            data = data.replace(around[0] + old + around[1], around[0] + new + around[1])
    path.write_bytes(data)
    found = read(path)
    expected = "utf-8" if code == "utf-8" else "cp437"
    assert found.classes == sorted(each.decode(expected) for each in names.values())
    assert [len(split.names) for split in found.splits.values()] == [6, 6]
    plain = read(write_folder(tmp_path / "plain", files))
    by_name = [found.classes.index(names[each].decode(expected)) for each in plain.classes]
    for split in ("train", "test"):
        order = sorted(range(6), key=lambda row: (by_name[plain.splits[split].labels[row]], row))
        assert (plain.splits[split].images[order] == found.splits[split].images).all()


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(("code", "a", "b"), CODE_PAGES)
def test_a_tar_of_any_code_page_is_read_with_its_classes_apart(
    code: str, a: str, b: str, kind: int, tmp_path: Path
) -> None:
    """As tar writes it in another locale; long names have headers of their own."""
    labels = (a, b, f"{a}{'x' * 100}") if kind != tarfile.USTAR_FORMAT else (a, b)
    names = [
        f"{split}/{label}/{i}{label}.png"
        for split in ("train", "test")
        for label in labels
        for i in range(3)
    ]
    with tarfile.open(tmp_path / "a.tar", "w", format=kind, encoding=code) as archive:
        for i, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = len(png(i))
            archive.addfile(member, io.BytesIO(png(i)))
    if code != "utf-8" and kind != tarfile.PAX_FORMAT:  # which has names in UTF-8
        names = [name.encode(code).decode("cp437") for name in names]
    expected = {name: png(i) for i, name in enumerate(names)}
    assert same(read(tmp_path / "a.tar"), read(write_folder(tmp_path / "set", expected)))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_file_that_is_too_large_is_left_out_and_named(name: str, tmp_path: Path) -> None:
    large = {"train/car/vast.png": bytes(70_000_000), "train/car/film.avi": bytes(70_000_000)}
    noise = {"notes.bin": os.urandom(800_000)}
    found = read(write_any(tmp_path / name, small_set() | large | noise), max_unreadable=0.5)
    assert found.unreadable == ["train/car/vast.png: 70000000 bytes, more than 67108864"]
    assert len(found.splits["train"].names) == 13
    assert [each.example for each in found.left_out] == ["train/car/film.avi"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_flat_bitmaps_are_no_bomb(name: str, tmp_path: Path) -> None:
    """Deflate packs them a thousandfold."""
    colours = ["red", "blue", "green"]
    files = {
        f"{split}/{label}/{i}.bmp": encoded(Image.new("RGB", (2000, 2000), colours[i]), "BMP")
        for split in ("train", "test")
        for label in "ab"
        for i in range(3)
    }
    assert len(read(write_any(tmp_path / name, files)).splits["test"].names) == 6
